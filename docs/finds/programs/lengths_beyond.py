"""pack_padded_sequence accepts lengths beyond the input; the batch sizes then state more rows than
the data has.

Expected twice: pad_packed_sequence and every net need one row of data for each row of the batch
sizes, and a net rejects what was packed.
"""

import sys

import torch
from torch.nn.utils.rnn import pack_padded_sequence

try:
    packed = pack_padded_sequence(torch.ones(5, 3, 1), torch.tensor([7, 3, 2]))
except (RuntimeError, ValueError) as error:
    print("rejected:", str(error).splitlines()[0])
    sys.exit(0)
rows, stated = len(packed.data), int(packed.batch_sizes.sum())
assert stated == 7 + 3 + 2
try:
    torch.nn.GRU(1, 1)(packed)
except RuntimeError as error:
    print("a GRU rejects it:", str(error).splitlines()[0])
else:
    raise AssertionError("a GRU accepts it")
print("expected: rejected, or", stated, "rows of data; actual", rows)
sys.exit(rows != stated)
