"""Forward-mode AD of embedding ignores padding_idx: the padding has a tangent, where backward mode
gives it no gradient, so that the two are not adjoint.

Expected twice: the padding does not contribute to the gradient (documentation), and the
vector–Jacobian product of torch itself.
"""

import sys

import torch

weight = torch.ones(3, 1)
index = torch.tensor([0, 1, 2])


def f(weight):
    return torch.nn.functional.embedding(index, weight, padding_idx=1)


expected = [1.0, 0.0, 1.0]  # along ones
_, back = torch.func.vjp(f, weight)
assert expected == back(torch.ones(3, 1))[0].flatten().tolist()
_, tangent = torch.func.jvp(f, (weight,), (torch.ones(3, 1),))
actual = tangent.flatten().tolist()
print("expected", expected, "actual", actual)
sys.exit(expected != actual)
