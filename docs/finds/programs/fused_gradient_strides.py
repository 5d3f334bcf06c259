"""Fused optimisers on the CPU read a gradient as if it were contiguous: one of stride 0, which
torch.autograd.grad returns for a sum, is read past its end.

Expected twice: θ − η g by hand, and by the same optimiser with foreach=False.
"""

import sys

import numpy as np
import torch


def stepped(**form):
    theta = torch.nn.Parameter(torch.zeros(8))
    memory = torch.full((8,), 7.0)  # in which the gradient is the first number
    memory[0] = 1.0
    theta.grad = memory[:1].expand(8)
    torch.optim.SGD([theta], lr=1.0, **form).step()
    return theta.detach().numpy()


expected = -np.ones(8)
assert (expected == stepped(foreach=False)).all()
actual = stepped(fused=True)
print("expected", expected, "actual", actual)
sys.exit(not np.array_equal(expected, actual))
