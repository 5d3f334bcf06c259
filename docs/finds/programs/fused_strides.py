"""Fused optimisers on the CPU take every tensor for contiguous: memory outside the parameter is
written, and elements of the parameter are not updated.

Expected twice: θ − η g by hand, and by the same optimiser with foreach=False.
"""

import sys

import numpy as np
import torch


def stepped(**form):
    memory = torch.zeros(3, 4)
    theta = torch.nn.Parameter(memory[:, :2])  # the first two of four columns
    theta.grad = torch.arange(1.0, 7.0).reshape(3, 2)
    torch.optim.SGD([theta], lr=1.0, **form).step()
    return memory.numpy()


expected = np.zeros((3, 4))
expected[:, :2] = -np.arange(1.0, 7.0).reshape(3, 2)
assert (expected == stepped(foreach=False)).all()
actual = stepped(fused=True)
print(f"expected\n{expected}\nactual\n{actual}")
sys.exit(not np.array_equal(expected, actual))
