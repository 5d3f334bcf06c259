"""A compiled function does not change a float64 tensor without axes in place.

A compiled step leaves such a parameter, and such states, as they were. Exits with 1 while the
mistake exists.
"""

import sys

import torch


def double(x):
    """Multiply in place."""
    x.mul_(2)


wrong = False
for dtype in (torch.float64, torch.float32):
    for shape in ((), (1,)):
        torch._dynamo.reset()
        x = torch.ones(shape, dtype=dtype)
        torch.compile(double, backend="aot_eager")(x)
        print(f"{dtype!s:14} {shape!s:5} {x.sum().item()}")  # should be 2.0
        wrong |= x.sum().item() != 2
sys.exit(wrong)
