"""A compiled step of Adam computes the bias correction in float32, for float64 as well.

The first step of Adam is the learning rate against the sign of the gradient. The backend runs the
traced operations as they are: the mistake is in what is traced. Exits with 1 while it exists.
"""

import sys

import torch

wrong = False
for compiled in (False, True):
    parameter = torch.zeros(1, dtype=torch.float64)
    parameter.grad = torch.ones(1, dtype=torch.float64)
    optimizer = torch.optim.Adam([parameter], lr=1.0, betas=(0.9, 0.99999), eps=0.0, foreach=False)
    step = torch.compile(optimizer.step, backend="eager") if compiled else optimizer.step
    step()
    error = abs(parameter.item() + 1)
    wrong |= error > 1e-10
    print(f"compiled={compiled}: error of the step {error:.1e}")
sys.exit(wrong)
