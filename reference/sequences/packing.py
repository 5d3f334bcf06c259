"""Sequences of different lengths as packed rows, without padding, and back.

    ℓ_b   length of sequence b      B sequences of up to T steps, N = Σ ℓ_b real steps
    x     [T, B, ·]  padded         x[t, b] is real where t < ℓ_b, padding elsewhere
    π     [B]  sorted_indices       the sequences, longest first; π⁻¹ is unsorted_indices
    n_t   [T]  batch_sizes          number of sequences that reach step t; their rows start at s_t
    data  [N, ·]                    only the real steps: step by step, the longest sequence first

Forward
    (1)  ℓ_π(0) ≥ ℓ_π(1) ≥ …                    sorting; equal lengths keep their order
    (2)  n_t = #{b : ℓ_b > t}                   s_t = n_0 + … + n_(t−1)
    (3)  data[s_t + j] = x[t, π(j)], j < n_t    packing chooses entries
    (4)  x[t, π(j)] = data[s_t + j], j < n_t    padding puts them back; padding_value elsewhere
    (5)  ℓ_π(j) = #{t : n_t > j}                the lengths from the batch sizes

Adjoint
    (4′) δdata[s_t + j] = δx[t, π(j)]           this is (3): padding's adjoint packs
    (3′) δx[t, π(j)] = δdata[s_t + j]           this is (4) with 0: packing's adjoint pads
    (1′) δx_b = δ(x_π)[π⁻¹(b)]                  a permutation's adjoint is its inverse

Values are moved but not changed, so every dtype and any number of further axes are valid, and an
adjoint needs only a pack of the same layout, no tape. The gradient of padding is exactly 0 for any
padding value.

Source: torch.nn.utils.rnn, with its names, arguments and results.
Differs: equal lengths keep their order; lengths that are fractional, greater than T or fewer than B
are rejected, and so are indices that are not a permutation and packed sequences whose fields
contradict each other.
Page: docs/sequences/packing.md
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..arrays import check_array, check_not_masked
from .padding import (
    Lengths,
    batch_and_steps,
    check_padding_value,
    checked_lengths,
    pad_sequence,
    unpad_sequence,
)


class PackedSequence(NamedTuple):
    """A batch without padding; the indices are None if the batch was already sorted."""

    data: np.ndarray  # [N, ·]
    batch_sizes: np.ndarray  # n_t [T]
    sorted_indices: np.ndarray | None = None  # π [B]
    unsorted_indices: np.ndarray | None = None  # π⁻¹ [B]


def invert_permutation(permutation: np.ndarray | None) -> np.ndarray | None:
    """π⁻¹ [B] of π [B], None of None.

    Raises RuntimeError if π is not a permutation of 0 … B − 1.
    """
    if permutation is None:
        return None
    check_not_masked("a permutation", permutation, TypeError)
    pi = np.asarray(permutation)
    # Differs: torch accepts an array [], and raises IndexError for two axes.
    if pi.ndim != 1:
        raise RuntimeError(f"expected a permutation [B], got an array of shape {pi.shape}.")
    inverse = np.argsort(pi)  # (1′)
    # Differs: for indices with a repetition torch returns uninitialised memory.
    if pi.dtype.kind not in "iu" or not np.array_equal(pi[inverse], np.arange(pi.size)):
        raise RuntimeError(f"expected a permutation of 0 … {pi.size - 1}, got {pi}.")
    return inverse


def pack_padded_sequence(
    input: np.ndarray, lengths: Lengths, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """The packed rows of a padded batch [T, B, ·], or [B, T, ·] with batch_first.

    With enforce_sorted the lengths must not grow. Without it the sequences are sorted here, and a
    net that reads the pack permutes its states in the same way. Raises RuntimeError for lengths
    that do not fit the input and for an empty input, IndexError for an input of fewer than two
    axes, AttributeError for an input that is not an array.
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
    # Differs: a stable sort; torch does not specify the order of equal lengths.
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
    """The padded batch [T, B, ·], and its lengths [B], in the order before sorting.

    T is total_length, by default the longest length. Raises ValueError if total_length is less than
    the longest length; TypeError for a padding_value that is not a number, RuntimeError for one
    that the dtype cannot hold; and the errors of `check_consistent`.
    """
    check_consistent(sequence)
    data, n = sequence[:2]
    T, B = len(n), int(n[0])
    if total_length is not None and total_length < T:
        raise ValueError(
            f"Expected total_length to be at least the length of the longest sequence in input, "
            f"but got total_length={total_length} and max sequence length being {T}."
        )
    check_padding_value(padding_value, data)
    T = T if total_length is None else total_length
    shape = (B, T) if batch_first else (T, B)
    padded = np.full_like(data, padding_value, shape=shape + data.shape[1:])
    padded[_entries(sequence, batch_first)] = data  # (4)
    return padded, _lengths(sequence)


def pad_packed_sequence_back(
    d_padded: np.ndarray, sequence: PackedSequence, batch_first: bool = False
) -> PackedSequence:
    """δdata, in the layout of `sequence`, the argument of `pad_packed_sequence`.

    Raises RuntimeError if d_padded is not [T, B, ·] or larger in T.
    """
    T, B = len(sequence.batch_sizes), int(sequence.batch_sizes[0])
    rows, steps = batch_and_steps(d_padded, batch_first)
    if steps < T or rows != B or d_padded.shape[2:] != sequence.data.shape[1:]:
        raise RuntimeError(
            f"Expected d_padded of {B} sequences and at least {T} steps, as the padded batch, got "
            f"shape {d_padded.shape}."
        )
    return sequence._replace(data=d_padded[_entries(sequence, batch_first)])  # (4′)


def pack_padded_sequence_back(
    d_packed: PackedSequence, batch_first: bool = False, total_length: int | None = None
) -> np.ndarray:
    """δinput [T, B, ·], T = total_length, by default the longest length."""
    return pad_packed_sequence(d_packed, batch_first, 0, total_length)[0]  # (3′)


def pack_sequence(sequences: Iterable[np.ndarray], enforce_sorted: bool = True) -> PackedSequence:
    """The packed rows of arrays [ℓ_b, ·], ℓ_b > 0; raises the errors of `pack_padded_sequence`."""
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
    """δdata, in the layout of the argument of `unpack_sequence`.

    Raises RuntimeError if the lengths of d_sequences are not those of the sequences.
    """
    lengths, expected = [len(d) for d in d_sequences], _lengths(packed_sequences).tolist()
    if lengths != expected:
        raise RuntimeError(
            f"Expected d_sequences of lengths {expected}, as the unpacked sequences, got "
            f"{lengths}: pass one for each sequence, in their order."
        )
    return pad_packed_sequence_back(pad_sequence(d_sequences), packed_sequences)


pack_sequence_back = unpack_sequence  # of δdata: the list of gradients


def check_consistent(sequence: PackedSequence) -> None:
    """Reject a packed sequence whose fields contradict each other, with RuntimeError.

    Raises AttributeError for a `sequence` that is not a PackedSequence and for fields that are not
    arrays, TypeError for batch_sizes that are not integers.
    """
    if not isinstance(sequence, PackedSequence):
        raise AttributeError(f"expected a PackedSequence, got {type(sequence).__name__}.")
    for name, field in zip(sequence._fields, sequence, strict=True):
        was_sorted = field is None and name.endswith("_indices")
        if not was_sorted:
            check_array(name, field, AttributeError)
    data, n, order, inverse = sequence
    if n.dtype.kind not in "iu":
        raise TypeError(f"batch_sizes should be integers, got {n.dtype}.")
    # Differs: torch returns nothing for a step without rows, raises IndexError for no steps, and
    # ignores rows that no step counts.
    if n.ndim != 1 or n.size == 0 or n[-1] < 1 or (n[1:] > n[:-1]).any():
        raise RuntimeError(f"batch_sizes [T] should be positive and not grow, got {n}.")
    if n.sum() != len(data):
        raise RuntimeError(f"batch_sizes {n} sum to {n.sum()}, but the data has {len(data)} rows.")
    if order is inverse is None:
        return
    # Differs: with indices that are not inverses of each other torch permutes the states wrongly.
    inverted = invert_permutation(order)
    if (
        inverted is None
        or inverse is None
        or len(inverted) != n[0]
        or not np.array_equal(inverted, inverse)
    ):
        raise RuntimeError(
            f"sorted_indices and unsorted_indices should be inverse permutations of the {n[0]} "
            f"sequences, got {order} and {inverse}: construct them with a pack function."
        )


def _lengths(packed: PackedSequence) -> np.ndarray:
    """ℓ [B], in the order before sorting."""
    n, order = packed.batch_sizes, packed.unsorted_indices
    lengths: np.ndarray = (n[:, None] > np.arange(n[0])).sum(axis=0)  # (5)
    return lengths if order is None else lengths[order]


def _entries(packed: PackedSequence, batch_first: bool) -> tuple[np.ndarray, np.ndarray]:
    """The entry of the padded batch for each row of the data: t and π(j), or π(j) and t."""
    t, j = np.nonzero(packed.batch_sizes[:, None] > np.arange(packed.batch_sizes[0]))
    b = j if packed.sorted_indices is None else packed.sorted_indices[j]
    return (b, t) if batch_first else (t, b)
