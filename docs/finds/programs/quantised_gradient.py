"""A dynamically quantised GRU returns a gradient of h_0 that lacks the paths through the int8
products. Values are right.

Expected twice: the gradient of the float net with the same weights, and central differences of the
quantised net itself.
"""

import sys
import warnings

import torch

warnings.simplefilter("ignore")
torch.manual_seed(0)
net = torch.nn.GRU(2, 3)
quantised = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(net), {torch.nn.GRU})[0]
x, h = torch.randn(4, 1, 2), torch.randn(1, 1, 3, requires_grad=True)


def total(net, h):
    return net(x, h)[0].sum()


(expected,) = torch.autograd.grad(total(net, h), h)
second = []
for k in range(3):  # steps of 0.5, so that the rounding to 8 bits does not decide
    d = torch.zeros(1, 1, 3)
    d[..., k] = 0.5
    with torch.no_grad():
        second.append((total(quantised, h + d) - total(quantised, h - d)).item())
(actual,) = torch.autograd.grad(total(quantised, h), h)
scale = expected.abs().max()
error = ((actual - expected).abs().max() / scale).item()
noise = ((torch.tensor(second) - expected.flatten()).abs().max() / scale).item()
print("expected", expected.flatten().tolist(), "actual", actual.flatten().tolist())
print(f"actual is off by {error:.1%}, central differences of the quantised net by {noise:.1%}")
assert noise < 0.1
sys.exit(error > 0.15)
