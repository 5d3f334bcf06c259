"""A recurrent net goes on with a parameter that was deleted.

Expected twice: nn.Linear raises AttributeError without its weight, and state_dict of the net has
no such parameter.
"""

import sys

import torch

net, linear, x = torch.nn.LSTM(2, 2), torch.nn.Linear(2, 2), torch.ones(3, 1, 2)
del net.weight_hh_l0, linear.weight
try:
    linear(x)
    raise AssertionError
except AttributeError:
    pass
assert "weight_hh_l0" not in net.state_dict()
try:
    output, _ = net(x)
except (AttributeError, RuntimeError) as error:
    print("rejected:", error)
    sys.exit(0)
print("expected: AttributeError; actual", output.flatten().tolist())
sys.exit(1)
