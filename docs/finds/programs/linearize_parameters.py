"""The linear function that torch.func.linearize returns for a recurrent net raises if the
parameters of the net require a gradient.

Expected twice: torch.func.jvp of the same function, and linearize of a copy of the net whose
parameters require no gradient.
"""

import copy
import sys
import warnings

import torch

warnings.simplefilter("ignore")
net, x = torch.nn.GRU(2, 3), torch.ones(4, 1, 2)
_, expected = torch.func.jvp(lambda x: net(x)[0], (x,), (x,))
frozen = copy.deepcopy(net).requires_grad_(False)
_, linear = torch.func.linearize(lambda x: frozen(x)[0], x)
assert torch.allclose(linear(x), expected, atol=1e-6)
_, linear = torch.func.linearize(lambda x: net(x)[0], x)
try:
    actual = linear(x)
except RuntimeError as error:
    print("expected", expected[0].tolist(), "actual:", error)
    sys.exit(1)
sys.exit(not torch.allclose(actual, expected, atol=1e-6))
