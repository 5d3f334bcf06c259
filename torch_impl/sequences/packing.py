"""Padding and packing as PyTorch has it: torch.nn.utils.rnn, and the gather by length beside it."""

import torch
from torch.nn.utils.rnn import (
    PackedSequence,
    invert_permutation,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpack_sequence,
    unpad_sequence,
)

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "last_valid",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


def last_valid(
    output: torch.Tensor, lengths: torch.Tensor, batch_first: bool = False
) -> torch.Tensor:
    """[B, ·] of the last real step of every sequence of a padded output."""
    last, row = lengths - 1, torch.arange(len(lengths))
    return output[row, last] if batch_first else output[last, row]
