"""Rprop takes the sign of the product of two gradients, which is 0 if both are small.

Three equal gradients should make the second step larger than the first, and the third larger than
the second. Exits with 1 while the mistake exists.
"""

import sys

import torch

wrong = False
for dtype, small in ((torch.float16, 1e-4), (torch.bfloat16, 1e-23), (torch.float32, 1e-23)):
    for size in (1.0, small):
        parameter = torch.zeros(1, dtype=dtype)
        optimizer = torch.optim.Rprop([parameter], lr=0.01)
        for _ in range(3):
            parameter.grad = torch.full((1,), size, dtype=dtype)
            optimizer.step()
        step_size = optimizer.state[parameter]["step_size"].item()
        print(f"{dtype!s:15} gradients of {size:g}: size of the step {step_size:.4f}")
        wrong |= step_size < 0.0143  # 0.0144 but for rounding to bfloat16
sys.exit(wrong)
