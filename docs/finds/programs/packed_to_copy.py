"""PackedSequence.to(copy=True) raises, where Tensor.to and the documentation, which sends every
argument to it, accept copy.

Expected twice: Tensor.to of the same data, and PackedSequence.to without copy.
"""

import sys

import torch

packed = torch.nn.utils.rnn.pack_padded_sequence(torch.ones(3, 2, 1), torch.tensor([3, 1]))
expected = packed.data.to(torch.float64, copy=True)
assert torch.equal(packed.to(torch.float64).data, expected)
try:
    actual = packed.to(torch.float64, copy=True)
except RuntimeError as error:
    print("expected a copy; actual:", error)
    sys.exit(1)
sys.exit(not torch.equal(actual.data, expected))
