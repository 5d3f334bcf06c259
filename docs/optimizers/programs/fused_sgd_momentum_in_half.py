"""SGD(fused=True, momentum) in bfloat16 and float16: parameters of 32 elements do not move.

Exits with 1 while the mistake exists.
"""

import sys

import torch

wrong = False
for dtype in (torch.bfloat16, torch.float16):
    parameter = torch.zeros(32, dtype=dtype)
    parameter.grad = torch.ones(32, dtype=dtype)
    torch.optim.SGD([parameter], lr=0.5, momentum=0.9, fused=True).step()
    print(dtype, parameter.unique())  # should be -0.5
    wrong |= bool((parameter != -0.5).any())
sys.exit(wrong)
