"""RAdam(foreach=True) in float16: NaN at the first step, where the loop is right.

The first five steps do not use the second running mean. The foreach form computes 1/0 from it and
multiplies by 0. Exits with 1 while the mistake exists.
"""

import sys

import torch

wrong = False
for foreach in (False, True):
    parameter = torch.zeros(3, dtype=torch.float16)
    parameter.grad = torch.tensor([0.0, 1e-3, 1.0], dtype=torch.float16)
    torch.optim.RAdam([parameter], lr=0.5, foreach=foreach).step()
    print(f"foreach={foreach}:", parameter)  # should be 0, -0.0005, -0.5
    wrong |= not parameter.isfinite().all()
sys.exit(bool(wrong))
