"""Padding and packing by torch.nn.utils.rnn, and the output of the last valid step."""

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
    """The last valid step [B, ·] of every sequence of a padded output [T, B, ·], lengths [B]."""
    last, row = lengths - 1, torch.arange(len(lengths))
    return output[row, last] if batch_first else output[last, row]
