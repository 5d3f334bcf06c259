"""clip_grad_norm_ makes finite gradients 0 where the sum of their squares overflows: in float32
from 1.9e19 on, and in float16 from a norm of 65504 on.

Expected twice: the norm by math.hypot, which scales, and the same gradients in float64.
"""

import math
import sys

import torch


def clipped(dtype, size):
    theta = torch.nn.Parameter(torch.zeros(2, dtype=dtype))
    theta.grad = torch.full((2,), size, dtype=dtype)
    norm = torch.nn.utils.clip_grad_norm_([theta], 1.0)
    return norm.item(), theta.grad[0].item()


wrong = False
for dtype, size in ((torch.float32, 1e20), (torch.float16, 60000.0)):
    expected = size / math.hypot(size, size)
    assert abs(clipped(torch.float64, size)[1] - expected) < 1e-9
    norm, actual = clipped(dtype, size)
    print(dtype, "expected", expected, "actual", actual, "norm", norm)
    wrong |= abs(actual - expected) > 0.01
sys.exit(wrong)
