"""An LSTM on packed data takes the cell state of a layer that c_0 lacks from other memory.

Expected twice: the same net rejects the same state for a batch that is not packed, and a GRU
rejects a packed batch with such a state. The call runs in a process of its own, which it may end.
"""

import subprocess
import sys

import torch
from torch.nn.utils.rnn import pack_padded_sequence

x, h_0 = torch.zeros(2, 2, 1), torch.zeros(3, 2, 1)
c_0 = h_0[:1]  # of three layers, one
packed, net = pack_padded_sequence(x, torch.tensor([2, 1])), torch.nn.LSTM(1, 1, 3)
if sys.argv[1:] == ["packed"]:
    net(packed, (h_0, c_0))
    sys.exit()
for rejects in (lambda: net(x, (h_0, c_0)), lambda: torch.nn.GRU(1, 1, 3)(packed, c_0)):
    try:
        rejects()
    except RuntimeError as error:
        print("rejected:", str(error).splitlines()[0])
    else:
        raise AssertionError("accepted")
ran = subprocess.run([sys.executable, __file__, "packed"], capture_output=True, text=True)
rejected = ran.returncode == 1 and "Error" in ran.stderr
print("expected: rejected; actual: status", ran.returncode, ran.stderr.strip()[-80:])
sys.exit(not rejected)
