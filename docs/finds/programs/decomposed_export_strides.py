"""A decomposed export of nn.RNN raises for an input that is not contiguous.

Expected three times: the net itself, the same export that is not decomposed, and a loop of
products.
"""

import sys
import warnings

import torch

warnings.simplefilter("ignore")
net = torch.nn.RNN(1, 1)
x = torch.arange(6.0).reshape(2, 3, 1).transpose(0, 1)  # 3 steps of 2 rows
with torch.no_grad():
    for p in net.parameters():
        p.fill_(0.125)
    program = torch.export.export(net, (torch.ones(3, 2, 1),))
    expected, h = net(x)[0], torch.zeros(2, 1)
    for step in x:
        h = torch.tanh(0.125 * step + 0.125 + 0.125 * h + 0.125)
    assert torch.allclose(expected[-1], h)
    assert torch.allclose(program.module()(x)[0], expected)
    decomposed = program.run_decompositions().module()
    assert torch.allclose(decomposed(x.contiguous())[0], expected)
    try:
        actual = decomposed(x)[0]
    except RuntimeError as error:
        print("expected", h.flatten().tolist(), "actual:", str(error).splitlines()[0])
        sys.exit(1)
print("expected", h.flatten().tolist(), "actual", actual[-1].flatten().tolist())
sys.exit(not torch.allclose(actual, expected))
