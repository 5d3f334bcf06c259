"""Compiled steps of Adamax, RAdam and Adagrad for float64 parameters are as exact as float32.

The number of the step is a float32 tensor, and what is computed from it is float32 too. Exits with
1 while the mistake exists.
"""

import sys

import torch

wrong = False
for kind in (torch.optim.Adamax, torch.optim.RAdam, torch.optim.Adagrad):
    steps = []
    for compiled in (False, True):
        torch._dynamo.reset()
        parameter = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
        optimizer = kind([parameter], lr=0.1, foreach=False)
        step = torch.compile(optimizer.step, backend="aot_eager") if compiled else optimizer.step
        parameter.grad = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
        step()
        steps.append(parameter.detach())
    error = ((steps[1] - steps[0]) / steps[0]).abs().max().item()
    print(f"{kind.__name__:8} relative difference {error:.1e}")  # should be below 1e-14
    wrong |= error > 1e-12
sys.exit(wrong)
