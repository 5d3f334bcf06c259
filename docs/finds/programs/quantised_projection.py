"""quantize_dynamic accepts an LSTM with proj_size, and every call of the result raises.

Expected twice: the float net returns a result, and quantize_dynamic rejects a GRU without biases,
which it does not support either.
"""

import sys
import warnings

import torch

warnings.simplefilter("ignore")
net, x = torch.nn.LSTM(2, 3, proj_size=1), torch.ones(3, 1, 2)
quantize = torch.ao.quantization.quantize_dynamic
assert net(x)[0].shape == (3, 1, 1)
try:
    quantize(torch.nn.Sequential(torch.nn.GRU(2, 3, bias=False)), {torch.nn.GRU})
    raise ValueError("accepted")
except AssertionError as error:
    print("rejected without biases:", error)
try:
    quantised = quantize(torch.nn.Sequential(net), {torch.nn.LSTM})[0]
except (AssertionError, RuntimeError, NotImplementedError) as error:
    print("rejected:", error)
    sys.exit(0)
try:
    actual = quantised(x)[0].shape
except RuntimeError as error:
    print("expected: rejected when it is quantised; actual:", str(error).splitlines()[0])
    sys.exit(1)
print("expected", (3, 1, 1), "actual", actual)
sys.exit(actual != (3, 1, 1))
