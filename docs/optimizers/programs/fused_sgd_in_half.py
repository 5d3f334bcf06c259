"""SGD(fused=True) in bfloat16 and float16: whole vector registers of 16 or 32 elements do not move.

With and without momentum. Exits with 1 while the mistake exists.
"""

import sys

import torch

wrong = False
for dtype in (torch.bfloat16, torch.float16):
    for momentum in (0.0, 0.9):
        parameter = torch.zeros(32, dtype=dtype)
        parameter.grad = torch.ones(32, dtype=dtype)
        torch.optim.SGD([parameter], lr=0.5, momentum=momentum, fused=True).step()
        print(f"{dtype!s:14} momentum {momentum}: {parameter.unique().tolist()}")  # should be -0.5
        wrong |= bool((parameter != -0.5).any())
sys.exit(wrong)
