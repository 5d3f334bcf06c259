"""Sequences of different lengths as one padded batch, and back; the last real step of each.

    x_b   [ℓ_b, ·]  sequence b, ℓ_b steps long      b = 0 … B − 1
    x     [T, B, ·]  the padded batch, T ≥ ℓ_b      [B, T, ·] with batch_first

Forward
    (1)  x[t, b] = x_b[t], t < ℓ_b              padding; padding_value elsewhere
    (2)  x_b[t] = x[t, b], t < ℓ_b              unpadding reads the real steps
    (3)  last[b] = y[ℓ_b − 1, b]                the last real step, not step T − 1

Adjoint
    (3′) δy[ℓ_b − 1, b] = δlast[b]              0 elsewhere: (3) reads no other step
    (2′) δx[t, b] = δx_b[t]                     this is (1) with 0: unpadding's adjoint pads
    (1′) δx_b[t] = δx[t, b]                     this is (2): padding's adjoint unpads

With padding_side="left", sequence b starts at step T − ℓ_b. Values are moved but not changed, so
every dtype and any number of further axes are valid, and an adjoint needs no tape, only lengths.

Source: torch.nn.utils.rnn.
Differs: unpad_sequence does not change its argument, accepts both sides, and rejects lengths that
are fractional, negative or greater than T; pad_sequence rejects sequences of different ranks.
Page: docs/sequences/padding.md
"""

import math
from collections.abc import Iterable, Sequence
from numbers import Complex, Number

import numpy as np

from ..arrays import check_array, check_not_masked

Lengths = Sequence[int] | np.ndarray


def pad_sequence(
    sequences: Iterable[np.ndarray],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> np.ndarray:
    """The padded batch [T, B, ·] of arrays [ℓ_b, ·], T = max ℓ_b, in the dtype of the first.

    Raises RuntimeError for no sequences, for further axes that differ, for an unknown side and for
    a padding_value that the dtype cannot hold; TypeError for a sequence that is not an array.
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: "
            f"{type(sequences).__name__}."
        )
    sequences = list(sequences)
    _check_sequences(sequences)
    check_padding_value(padding_value, sequences[0])
    lengths = np.array([len(one) for one in sequences])
    real = _real_steps(lengths, lengths.max(), padding_side)
    padded = np.full_like(sequences[0], padding_value, shape=real.shape + sequences[0].shape[1:])
    padded[real] = np.concatenate(sequences)  # (1)
    return padded if batch_first else padded.swapaxes(0, 1)


def check_padding_value(padding_value: complex, data: np.ndarray) -> None:
    """Reject a padding_value that the dtype of the data cannot hold.

    Raises TypeError if it is not a number; RuntimeError for a complex value in real data, a finite
    value above the largest of the dtype, and, in integers, NaN or a value outside their range.
    Fractions are truncated in integers, as in torch.
    """
    if not isinstance(padding_value, Number):
        raise TypeError(f"padding_value should be a number, got {type(padding_value).__name__}.")
    if isinstance(padding_value, Complex) and padding_value.imag and not np.iscomplexobj(data):
        raise RuntimeError(f"padding_value should be real in {data.dtype}, got {padding_value}.")
    if data.dtype.kind in "fc":
        largest = float(np.finfo(data.dtype).max)
        parts = padding_value.real, padding_value.imag
        with np.errstate(over="ignore"):  # comparing a value of a narrower dtype may overflow
            overflows = any(largest < abs(part) < math.inf for part in parts)
        if overflows:
            raise RuntimeError(
                f"padding_value in {data.dtype} should be at most {largest:.4g}, got "
                f"{padding_value}: choose another, or convert the sequences."
            )
    if data.dtype.kind in "iu":
        limits = np.iinfo(data.dtype)
        if not limits.min <= padding_value.real <= limits.max:
            raise RuntimeError(
                f"padding_value in {data.dtype} should lie in {limits.min} … {limits.max}, got "
                f"{padding_value}: choose another, or convert the sequences."
            )


def unpad_sequence(
    padded_sequences: np.ndarray,
    lengths: Lengths,
    batch_first: bool = False,
    padding_side: str = "right",
) -> list[np.ndarray]:
    """The sequences [ℓ_b, ·] of a padded batch, as new arrays.

    Raises ValueError for lengths that are not whole numbers in 0 … T.
    """
    B, T = batch_and_steps(padded_sequences, batch_first)
    # Differs: torch clips these lengths, and uses 0 for NaN; it accepts only the right side.
    real = _real_steps(checked_lengths(lengths, B, 0, T, ValueError), T, padding_side)
    # Differs: a view is transposed; torch transposes the argument in place (pytorch#98499).
    rows = padded_sequences if batch_first else padded_sequences.swapaxes(0, 1)
    return [row[steps] for row, steps in zip(rows, real, strict=True)]  # (2)


def last_valid(output: np.ndarray, lengths: Lengths, batch_first: bool = False) -> np.ndarray:
    """The last real step [B, ·] of every sequence, from an output [T, B, ·].

    For a net of one direction this is h_n[-1] of the packed batch. The reverse half of a
    bidirectional output ends at step 0, not here. Raises ValueError for lengths that are not whole
    numbers in 1 … T.
    """
    B, T = batch_and_steps(output, batch_first)
    last = checked_lengths(lengths, B, 1, T, ValueError) - 1
    y: np.ndarray = output[(np.arange(B), last) if batch_first else (last, np.arange(B))]  # (3)
    return y


def last_valid_back(
    d_last: np.ndarray, lengths: Lengths, total_length: int, batch_first: bool = False
) -> np.ndarray:
    """δoutput [T, B, ·] of T = total_length steps, from d_last [B, ·]."""
    B = len(d_last)
    last = checked_lengths(lengths, B, 1, total_length, ValueError) - 1
    d_output = np.zeros_like(d_last, shape=(B, total_length, *d_last.shape[1:]))
    d_output[np.arange(B), last] = d_last  # (3′)
    return d_output if batch_first else d_output.swapaxes(0, 1)


def unpad_sequence_back(
    d_sequences: Sequence[np.ndarray],
    total_length: int,
    batch_first: bool = False,
    padding_side: str = "right",
) -> np.ndarray:
    """δ of a padded batch [T, B, ·] of T = total_length steps, from arrays [ℓ_b, ·].

    Raises ValueError for a sequence longer than T; RuntimeError for no sequences, whose further
    axes are unknown; and the errors of `pad_sequence`.
    """
    _check_sequences(d_sequences)
    longest = np.zeros_like(d_sequences[0], shape=(total_length, *d_sequences[0].shape[1:]))
    padded = pad_sequence([*d_sequences, longest], batch_first, 0, padding_side)  # (2′)
    checked_lengths([len(d) for d in d_sequences], len(d_sequences), 0, total_length, ValueError)
    return padded[:-1] if batch_first else padded[:, :-1]


pad_sequence_back = unpad_sequence  # (1′), from δ of the padded batch and the lengths


def batch_and_steps(padded: np.ndarray, batch_first: bool) -> tuple[int, int]:
    """B and T of a padded batch.

    Raises AttributeError if it is not an array, IndexError if it has fewer than two axes.
    """
    check_array("a padded batch", padded, AttributeError)
    if padded.ndim < 2:
        raise IndexError(f"expected a padded batch [T, B, ·] or [B, T, ·], got {padded.shape}.")
    B, T = padded.shape[:2] if batch_first else padded.shape[1::-1]
    return B, T


def checked_lengths(
    lengths: Lengths, B: int, least: int, most: int, error: type[Exception]
) -> np.ndarray:
    """The lengths as integers [B].

    Raises `error` if they are not B whole numbers in least … most; TypeError if they are not
    numbers, ValueError for lists of different lengths.
    """
    check_not_masked("'lengths'", lengths, TypeError)
    message = f"'lengths' should be a list of {B} whole numbers, got {lengths}."
    try:
        values = np.asarray(lengths)
    except ValueError:
        raise ValueError(message) from None
    if values.dtype.kind not in "biuf":
        raise TypeError(message)
    with np.errstate(invalid="ignore"):  # NaN becomes some integer, which differs from NaN
        whole = values.astype(np.intp)  # indices, for any dtype of the values
    # Differs: torch truncates fractional lengths, or rounds them up.
    if values.ndim != 1 or (whole != values).any():
        raise error(message)
    if len(whole) != B:
        raise error(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(whole)} "
            f"(batch_size={B}): give one length for each sequence."
        )
    # Differs: torch reads on past T in some of these cases, and clips in others.
    if B and (whole.min() < least or whole.max() > most):
        raise error(f"Expected every length between {least} and T = {most}, but got {lengths}.")
    return whole


def _check_sequences(sequences: Sequence[np.ndarray]) -> None:
    """Reject an empty list, non-arrays, and arrays that differ in other axes than the first."""
    if len(sequences) == 0:
        raise RuntimeError("received an empty list of sequences, expected at least one.")
    for b, one in enumerate(sequences):
        check_not_masked(f"sequence {b}", one, TypeError)
        if not isinstance(one, np.ndarray):
            raise TypeError(f"expected an array as sequence {b}, but got {type(one).__name__}.")
        # Differs: torch broadcasts a sequence of a smaller rank.
        if one.ndim == 0 or one.shape[1:] != sequences[0].shape[1:]:
            raise RuntimeError(
                f"expected sequences [length, ·] that differ only in their lengths, got shape "
                f"{one.shape} for sequence {b} and {sequences[0].shape} for the first."
            )


def _real_steps(lengths: np.ndarray, T: int, padding_side: str) -> np.ndarray:
    """[B, T], True at the real steps of the padded batch, False at padding."""
    if padding_side not in ("right", "left"):
        raise RuntimeError(
            f"Expected padding_side to be one of left or right, but got {padding_side}."
        )
    real: np.ndarray = np.arange(T) < lengths[:, None]
    return real if padding_side == "right" else real[:, ::-1]
