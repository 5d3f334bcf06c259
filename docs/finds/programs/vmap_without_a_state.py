"""vmap(grad) over the rows of a net without an initial state raises.

Expected twice: with a state of zeros for each row, which is the default, it works; so does a loop.
"""

import sys

import torch

net, x = torch.nn.GRU(2, 3), torch.ones(4, 3, 2)
params = dict(net.named_parameters())


def loss(params, row, *state):
    return torch.func.functional_call(net, params, (row, *state))[0].sum()


def over_rows(*state):
    gradient = torch.func.vmap(torch.func.grad(loss), (None, 1, *[1] * len(state)))
    return gradient(params, x, *state)


expected = over_rows(torch.zeros(1, 3, 3))["weight_hh_l0"]
loop = [torch.func.grad(loss)(params, x[:, k])["weight_hh_l0"] for k in range(3)]
assert torch.allclose(expected, torch.stack(loop))
try:
    actual = over_rows()["weight_hh_l0"]
except RuntimeError as error:
    print("expected gradients of shape", tuple(expected.shape), "actual:", error)
    sys.exit(1)
sys.exit(not torch.allclose(actual, expected))
