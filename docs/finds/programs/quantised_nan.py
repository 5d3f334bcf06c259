"""A dynamically quantised GRU turns a NaN of its input into finite numbers.

Expected twice: the float net returns NaN from that step on, and so does the product of the weights
with a row that contains NaN.
"""

import sys
import warnings

import torch

warnings.simplefilter("ignore")
net = torch.nn.GRU(2, 3)
quantised = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(net), {torch.nn.GRU})[0]
x = torch.ones(3, 1, 2)
x[1, 0, 0] = torch.nan
expected = net(x)[0].isnan().flatten(1).all(1).tolist()
assert expected == [False, True, True] and (net.weight_ih_l0 @ x[1, 0]).isnan().all()
output = quantised(x)[0]
actual = output.isnan().flatten(1).any(1).tolist()
print("steps with NaN expected", expected, "actual", actual, output[1].tolist())
sys.exit(expected != actual)
