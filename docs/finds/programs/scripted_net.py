"""torch.jit.script of a recurrent net returns a module without forward, which cannot be called.

Expected three times: the net itself, the same net scripted as a part of another module, and a loop
of products.
"""

import sys
import warnings

import torch

warnings.simplefilter("ignore")
net, x = torch.nn.RNN(1, 1), torch.ones(3, 1, 1)
with torch.no_grad():
    for p in net.parameters():
        p.fill_(0.5)
expected, h = net(x)[0], torch.zeros(1, 1)
for step in x:
    h = torch.tanh(0.5 * step + 0.5 + 0.5 * h + 0.5)
assert torch.allclose(expected[-1], h)
assert torch.allclose(torch.jit.script(torch.nn.Sequential(net))(x)[0], expected)
try:
    actual = torch.jit.script(net)(x)[0]
except Exception as error:
    print("expected", h.item(), "actual:", type(error).__name__, str(error).splitlines()[0])
    sys.exit(1)
print("expected", h.item(), "actual", actual[-1].item())
sys.exit(not torch.allclose(actual, expected))
