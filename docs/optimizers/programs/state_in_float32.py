"""NAdam and ASGD are only as exact as float32 for float64 parameters.

They keep numbers of their state in the default dtype. Exits with 1 while the mistake exists.
"""

import sys

import torch


def step(kind, default):
    """The parameter after three steps, with this default dtype."""
    torch.set_default_dtype(default)
    parameter = torch.zeros(1, dtype=torch.float64)
    optimizer = kind([parameter], lr=0.1)
    for g in (1.0, 2.0, -0.5):
        parameter.grad = torch.tensor([g], dtype=torch.float64)
        optimizer.step()
    return parameter.item()


wrong = False
for kind in (torch.optim.NAdam, torch.optim.ASGD):
    narrow, wide = step(kind, torch.float32), step(kind, torch.float64)
    wrong |= abs(narrow - wide) > 1e-13
    print(f"{kind.__name__:6} {narrow:.17f}, with float64 as the default dtype {wide:.17f}")
sys.exit(wrong)
