"""Sequences of different lengths as packed rows, without padding, and back.

    ℓ_b   length of sequence b      B sequences of up to T steps, N = Σ ℓ_b real ones
    x     [T, B, ·]  padded         x[t, b] is real where t < ℓ_b, padding elsewhere
    π     [B]  sorted_indices       the sequences, longest first; π⁻¹ is unsorted_indices
    n_t   [T]  batch_sizes          how many sequences reach step t; their rows start at s_t
    data  [N, ·]                    the real steps alone: step by step, the longest sequence first

Forward
    (1)  ℓ_π(0) ≥ ℓ_π(1) ≥ …                    sorting; equal lengths keep their order
    (2)  n_t = #{b : ℓ_b > t}                   s_t = n_0 + … + n_(t−1)
    (3)  data[s_t + j] = x[t, π(j)], j < n_t    packing chooses entries
    (4)  x[t, π(j)] = data[s_t + j], j < n_t    padding puts them back; padding_value elsewhere
    (5)  ℓ_π(j) = #{t : n_t > j}                the batch sizes know the lengths

Adjoint
    (4′) δdata[s_t + j] = δx[t, π(j)]           this is (3): padding's adjoint packs
    (3′) δx[t, π(j)] = δdata[s_t + j]           this is (4) with 0: packing's adjoint pads
    (1′) δx_b = δ(x_π)[π⁻¹(b)]                  a permutation's adjoint is its inverse

Values are moved, never computed with: any dtype and any further axes will do, and an adjoint needs
no tape, only a pack of the same layout. The gradient of padding is exactly 0, whatever it holds.

Source: torch.nn.utils.rnn, whose names, arguments and results these are.
Differs: equal lengths keep their order; refused are lengths that are fractional, longer than T or
fewer than B, what is no permutation, and packed sequences whose fields contradict each other.
Page: docs/sequences/packing.md
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .padding import (
    batch_and_steps,
    checked_lengths,
    pad_sequence,
    refuse_padding_value,
    unpad_sequence,
)


class PackedSequence(NamedTuple):
    """A batch without padding. The indices are absent where the batch came sorted."""

    data: np.ndarray
    batch_sizes: np.ndarray
    sorted_indices: np.ndarray | None = None
    unsorted_indices: np.ndarray | None = None


def invert_permutation(permutation: np.ndarray | None) -> np.ndarray | None:
    """π⁻¹ [B] of π [B], None of None; RuntimeError where π is no permutation of 0 … B − 1."""
    if permutation is None:
        return None
    given = np.asarray(permutation)
    if given.ndim != 1:
        raise RuntimeError(f"expected a permutation [B], got an array of shape {given.shape}.")
    inverse = np.argsort(given)  # (1′)
    if given.dtype.kind not in "iu" or not np.array_equal(given[inverse], np.arange(given.size)):
        raise RuntimeError(f"expected a permutation of 0 … {given.size - 1}, got {given}.")
    return inverse


def pack_padded_sequence(
    input: np.ndarray, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """The packed rows of a padded batch [T, B, ·], or [B, T, ·] with batch_first.

    With enforce_sorted the lengths must not grow. Without it the sequences are sorted here, and
    whoever reads the pack permutes the states that go with them. RuntimeError for lengths that do
    not fit the input and for an empty input, IndexError for an input of fewer than two axes.
    """
    B, T = batch_and_steps(input, batch_first)
    if input.size == 0:
        raise RuntimeError(f"Cannot pack empty tensors: got an input of shape {input.shape}.")
    lengths = checked_lengths(lengths, B, 1, T, RuntimeError)
    if enforce_sorted and (lengths[1:] > lengths[:-1]).any():
        raise RuntimeError(
            f"`lengths` array must be sorted in decreasing order when `enforce_sorted` is True, "
            f"got {lengths}: sort the batch, or pass enforce_sorted=False to have it sorted."
        )
    order = None if enforce_sorted else np.argsort(-lengths, kind="stable")  # (1)
    batch_sizes = (lengths > np.arange(lengths.max())[:, None]).sum(axis=1)  # (2)
    packed = PackedSequence(input, batch_sizes, order, invert_permutation(order))
    return packed._replace(data=input[_entries(packed, batch_first)])  # (3)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The padded batch, and its lengths [B], in the order before sorting.

    ValueError where total_length, the T asked for, is shorter than the longest sequence;
    TypeError for a padding_value that is no number, RuntimeError for one that no entry can hold.
    """
    check_consistent(sequence)
    data, n = sequence[:2]
    T, B = len(n), int(n[0])
    if total_length is not None and total_length < T:
        raise ValueError(
            f"Expected total_length to be at least the length of the longest sequence in input, "
            f"but got total_length={total_length} and max sequence length being {T}."
        )
    refuse_padding_value(padding_value, data)
    T = T if total_length is None else total_length
    shape = (B, T) if batch_first else (T, B)
    padded = np.full_like(data, padding_value, shape=shape + data.shape[1:])
    padded[_entries(sequence, batch_first)] = data  # (4)
    return padded, _lengths(sequence)


def pad_packed_sequence_back(
    d_padded: np.ndarray, sequence: PackedSequence, batch_first: bool = False
) -> PackedSequence:
    """δdata, in the layout of the sequence that was padded; RuntimeError for another shape."""
    T, B = len(sequence.batch_sizes), int(sequence.batch_sizes[0])
    rows, steps = batch_and_steps(d_padded, batch_first)
    if steps < T or rows != B or d_padded.shape[2:] != sequence.data.shape[1:]:
        raise RuntimeError(
            f"Expected d_padded of {B} sequences and {T} steps or more, as what was padded to, got "
            f"shape {d_padded.shape}."
        )
    return sequence._replace(data=d_padded[_entries(sequence, batch_first)])  # (4′)


def pack_padded_sequence_back(
    d_packed: PackedSequence, batch_first: bool = False, total_length: int | None = None
) -> np.ndarray:
    """δinput, where the input's T was total_length, the longest sequence when not given."""
    return pad_packed_sequence(d_packed, batch_first, 0, total_length)[0]  # (3′)


def pack_sequence(sequences: Iterable[np.ndarray], enforce_sorted: bool = True) -> PackedSequence:
    """The packed rows of arrays [ℓ_b, ·], ℓ_b > 0; errors as in `pack_padded_sequence`."""
    sequences = list(sequences)
    lengths = [len(one) for one in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[np.ndarray]:
    """The arrays [ℓ_b, ·], in the order before sorting."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


def unpack_sequence_back(
    d_sequences: Sequence[np.ndarray], packed_sequences: PackedSequence
) -> PackedSequence:
    """δdata, in the layout of the sequence that was unpacked.

    RuntimeError where the lengths of d_sequences are not those of the sequences unpacked.
    """
    found, expected = [len(d) for d in d_sequences], _lengths(packed_sequences).tolist()
    if found != expected:
        raise RuntimeError(
            f"Expected d_sequences of lengths {expected}, as of what was unpacked, got {found}: "
            f"give one for each sequence, in their order."
        )
    return pad_packed_sequence_back(pad_sequence(d_sequences), packed_sequences)


pack_sequence_back = unpack_sequence  # of δdata: listing what was packed


def check_consistent(sequence: PackedSequence) -> None:
    """RuntimeError where the fields of a packed sequence contradict each other.

    AttributeError for what is no PackedSequence and for fields that are no arrays, TypeError for
    batch_sizes that are not integers.
    """
    if not isinstance(sequence, PackedSequence):
        raise AttributeError(f"expected a PackedSequence, got {type(sequence).__name__}.")
    for name, field in zip(sequence._fields, sequence, strict=True):
        absent = field is None and name.endswith("_indices")  # where the batch came sorted
        if not (absent or isinstance(field, np.ndarray)):
            raise AttributeError(f"{name} should be an array, got {type(field).__name__}.")
    data, n, order, inverse = sequence
    if n.dtype.kind not in "iu":
        raise TypeError(f"batch_sizes should be integers, got {n.dtype}.")
    if n.ndim != 1 or n.size == 0 or n[-1] < 1 or (n[1:] > n[:-1]).any():
        raise RuntimeError(f"batch_sizes [T] should be positive and never grow, got {n}.")
    if n.sum() != len(data):
        raise RuntimeError(f"batch_sizes {n} sum to {n.sum()}, but the data has {len(data)} rows.")
    if order is inverse is None:
        return
    inverted = invert_permutation(order)
    if (
        inverted is None
        or inverse is None
        or len(inverted) != n[0]
        or not np.array_equal(inverted, inverse)
    ):
        raise RuntimeError(
            f"sorted_indices and unsorted_indices should be inverse permutations of the {n[0]} "
            f"sequences, got {order} and {inverse}: let a pack function make them."
        )


def _lengths(packed: PackedSequence) -> np.ndarray:
    """ℓ [B], in the order before sorting."""
    n, order = packed.batch_sizes, packed.unsorted_indices
    lengths = (n[:, None] > np.arange(n[0])).sum(axis=0)  # (5)
    return lengths if order is None else lengths[order]


def _entries(packed: PackedSequence, batch_first: bool) -> tuple[np.ndarray, np.ndarray]:
    """Where the padded batch holds each row of the data: t and π(j), or π(j) and t."""
    t, j = np.nonzero(packed.batch_sizes[:, None] > np.arange(packed.batch_sizes[0]))
    b = j if packed.sorted_indices is None else packed.sorted_indices[j]
    return (b, t) if batch_first else (t, b)
