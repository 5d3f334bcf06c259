"""torch.func.jvp, grad and vmap of a recurrent net on packed data raise.

Expected twice: torch.autograd.grad of the same function works, and so does torch.func.jvp of the
net on the same data padded.
"""

import sys

import torch

net, x = torch.nn.GRU(2, 3), torch.ones(4, 2, 2)
packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor([4, 4]))


def f(data):
    return net(packed._replace(data=data))[0].data


leaf = packed.data.clone().requires_grad_()
torch.autograd.grad(f(leaf).sum(), leaf)
_, tangent = torch.func.jvp(lambda x: net(x)[0], (x,), (torch.ones_like(x),))
expected = tuple(tangent.reshape(8, 3).shape)
try:
    _, actual = torch.func.jvp(f, (packed.data,), (torch.ones_like(packed.data),))
except RuntimeError as error:
    print("expected a tangent of shape", expected, "actual:", str(error).splitlines()[0])
    sys.exit(1)
sys.exit(tuple(actual.shape) != expected)
