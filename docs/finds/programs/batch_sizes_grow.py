"""pad_packed_sequence with batch sizes that decrease and increase again writes beyond its output.

Expected twice: a GRU rejects the same packed sequence, and pack_padded_sequence makes none whose
batch sizes increase. The call runs in a process of its own, which it may end.
"""

import subprocess
import sys

import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

packed = PackedSequence(torch.zeros(5, 2), torch.tensor([2, 1, 2]))
if sys.argv[1:] == ["pad"]:
    pad_packed_sequence(packed)
    sys.exit()
for lengths in ([3, 2], [2, 3], [1, 3], [3, 3]):
    made = pack_padded_sequence(torch.zeros(3, 2, 1), torch.tensor(lengths), enforce_sorted=False)
    assert (made.batch_sizes.diff() <= 0).all()
try:
    torch.nn.GRU(2, 1)(packed)
except RuntimeError as error:
    print("a GRU rejects it:", str(error).splitlines()[0])
else:
    raise AssertionError("a GRU accepts it")
ran = subprocess.run([sys.executable, __file__, "pad"], capture_output=True, text=True)
rejected = ran.returncode == 1 and "Error" in ran.stderr
print("expected: rejected; actual: status", ran.returncode, ran.stderr.strip()[-80:])
sys.exit(not rejected)
