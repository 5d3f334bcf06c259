"""A recurrent net under torch.nn.utils.parametrizations.weight_norm cannot be copied after a call.

Expected twice: it can before the call, and nn.Linear can after it.
"""

import copy
import sys

import torch

weight_norm = torch.nn.utils.parametrizations.weight_norm
net, x = weight_norm(torch.nn.LSTM(2, 2), "weight_hh_l0"), torch.ones(3, 1, 2)
linear = weight_norm(torch.nn.Linear(2, 2))
linear(x)
copy.deepcopy(linear), copy.deepcopy(net)
net(x)
try:
    copied = copy.deepcopy(net)
except RuntimeError as error:
    print("expected a copy; actual:", str(error).splitlines()[0])
    sys.exit(1)
sys.exit(not torch.equal(copied(x)[0], net(x)[0]))
