"""pack_padded_sequence with enforce_sorted=False drops the rows of the batch without a length.

Expected twice: the same call with enforce_sorted=True rejects the same lengths, and packing keeps
the sum of the data, which is that of the first lengths[b] steps of each row.
"""

import sys

import torch
from torch.nn.utils.rnn import pack_padded_sequence

x, lengths = torch.ones(5, 3, 1), torch.tensor([5, 2])  # three rows, two lengths
try:
    pack_padded_sequence(x, lengths)
except RuntimeError as error:
    print("sorted lengths are rejected:", str(error).splitlines()[0])
else:
    raise AssertionError("sorted lengths are accepted")
whole = pack_padded_sequence(x, torch.tensor([5, 2, 4]), enforce_sorted=False)
assert int(whole.data.sum()) == 5 + 2 + 4 and whole.batch_sizes[0] == 3
try:
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
except (RuntimeError, ValueError) as error:
    print("rejected:", str(error).splitlines()[0])
    sys.exit(0)
print("expected: rejected; actual:", int(packed.batch_sizes[0]), "of", x.shape[1], "rows")
sys.exit(1)
