"""An LSTM in float32 on packed data of equal lengths accepts an input of any width, and reads
weight_ih as if it had that width: beyond its end if the input is wider.

Expected twice: the same net rejects the same input if it is not packed, and if its lengths differ.
Where it is accepted, the output is computed for two fillings of the memory behind weight_ih.
"""

import sys

import torch
from torch.nn.utils.rnn import pack_padded_sequence


def accepted(x):
    try:
        with torch.no_grad():
            return net(x)[0].data.flatten().tolist()
    except RuntimeError as error:
        print("rejected:", str(error).splitlines()[0])
        return None


net, wide = torch.nn.LSTM(5, 1), torch.ones(3, 2, 6)
assert accepted(wide) is None
assert accepted(pack_padded_sequence(wide, torch.tensor([3, 2]))) is None
outputs = []
for fill in (0.0, 1.0):  # what lies behind weight_ih
    memory = torch.full((64,), fill)
    memory[:20] = 0
    net.weight_ih_l0 = torch.nn.Parameter(memory[:20].view(4, 5))
    outputs.append(accepted(pack_padded_sequence(wide, torch.tensor([3, 3]))))
print("expected: rejected; actual", outputs)
sys.exit(outputs != [None, None])
