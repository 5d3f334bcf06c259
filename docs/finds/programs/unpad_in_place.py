"""unpad_sequence with batch_first=False, the default, leaves its argument transposed.

Expected twice: with batch_first=True the argument stays as it was, and pad_sequence of the result
gives the argument back.
"""

import sys

import torch
from torch.nn.utils.rnn import pad_sequence, unpad_sequence

lengths = torch.tensor([4, 2])
sequences = [torch.arange(4.0), torch.arange(10.0, 12.0)]
batch = pad_sequence(sequences, batch_first=True)
unpad_sequence(batch, lengths, batch_first=True)
assert batch.shape == (2, 4)
padded = pad_sequence(sequences)
before = padded.clone()
again = pad_sequence(unpad_sequence(padded, lengths))
assert torch.equal(again, before)
print("expected", tuple(before.shape), "actual", tuple(padded.shape))
sys.exit(padded.shape != before.shape)
