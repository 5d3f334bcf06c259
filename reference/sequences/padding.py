"""Sequences of different lengths as one rectangular batch, and back; the last real step of each.

    x_b   [ℓ_b, ·]  sequence b, ℓ_b steps long      b = 0 … B − 1
    x     [T, B, ·]  the padded batch, T ≥ ℓ_b      [B, T, ·] with batch_first

Forward
    (1)  x[t, b] = x_b[t], t < ℓ_b              padding; padding_value elsewhere
    (2)  x_b[t] = x[t, b], t < ℓ_b              unpadding reads what is not padding
    (3)  last[b] = y[ℓ_b − 1, b]                the last real step, not the last column

Adjoint
    (3′) δy[ℓ_b − 1, b] = δlast[b]              0 elsewhere: no other step was read
    (2′) δx[t, b] = δx_b[t]                     this is (1) with 0: unpadding's adjoint pads
    (1′) δx_b[t] = δx[t, b]                     this is (2): padding's adjoint unpads

Padded on the left, sequence b starts at step T − ℓ_b. Values are moved, never computed with: any
dtype and any further axes will do, and an adjoint needs no tape, only the lengths.

Source: torch.nn.utils.rnn.
Differs: unpad_sequence leaves its argument as it was, knows both sides, and refuses lengths that
are fractional, negative or longer than T.
Page: docs/sequences/padding.md
"""

import math
from collections.abc import Iterable, Sequence
from numbers import Complex, Number
from typing import Any

import numpy as np


def pad_sequence(
    sequences: Iterable[np.ndarray],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> np.ndarray:
    """The padded batch of arrays [ℓ_b, ·]; T is the longest, the dtype that of the first.

    RuntimeError for no sequences, for further axes that differ, for an unknown side and for a
    padding_value that the dtype cannot hold; TypeError for a sequence that is no array.
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: "
            f"{type(sequences).__name__}."
        )
    sequences = list(sequences)
    _refuse_no_batch(sequences)
    refuse_padding_value(padding_value, sequences[0])
    lengths = np.array([len(one) for one in sequences])
    real = _real_steps(lengths, lengths.max(), padding_side)
    padded = np.full_like(sequences[0], padding_value, shape=real.shape + sequences[0].shape[1:])
    padded[real] = np.concatenate(sequences)  # (1)
    return padded if batch_first else padded.swapaxes(0, 1)


def refuse_padding_value(padding_value: Any, data: np.ndarray) -> None:
    """TypeError for what is no number, RuntimeError for one that the data's dtype cannot hold.

    That is a complex one among real ones, a finite one beyond the largest, and among integers NaN
    or one outside their range; fractions are cut off, as in torch.
    """
    if not isinstance(padding_value, Number):
        raise TypeError(f"padding_value should be a number, got {type(padding_value).__name__}.")
    if isinstance(padding_value, Complex) and padding_value.imag and not np.iscomplexobj(data):
        raise RuntimeError(f"padding_value should be real among {data.dtype}, got {padding_value}.")
    value: Any = padding_value  # a number, of which mypy would know no more
    if data.dtype.kind in "fc":
        largest = float(np.finfo(data.dtype).max)
        with np.errstate(over="ignore"):  # a value of a narrower dtype, compared with the largest
            beyond = [part for part in (value.real, value.imag) if largest < abs(part) < math.inf]
        if beyond:
            raise RuntimeError(
                f"padding_value among {data.dtype} should be at most {largest:.4g}, got "
                f"{padding_value}: choose another, or convert the sequences."
            )
    if data.dtype.kind in "iu":
        held = np.iinfo(data.dtype)
        if not held.min <= value.real <= held.max:
            raise RuntimeError(
                f"padding_value among {data.dtype} should lie in {held.min} … {held.max}, got "
                f"{padding_value}: choose another, or convert the sequences."
            )


def unpad_sequence(
    padded_sequences: np.ndarray,
    lengths: Any,
    batch_first: bool = False,
    padding_side: str = "right",
) -> list[np.ndarray]:
    """The sequences [ℓ_b, ·] of a padded batch, as new arrays; ValueError for wrong lengths."""
    B, T = batch_and_steps(padded_sequences, batch_first)
    real = _real_steps(checked_lengths(lengths, B, 0, T, ValueError), T, padding_side)
    rows = padded_sequences if batch_first else padded_sequences.swapaxes(0, 1)
    return [row[mine] for row, mine in zip(rows, real, strict=True)]  # (2)


def last_valid(output: np.ndarray, lengths: Any, batch_first: bool = False) -> np.ndarray:
    """[B, ·], the last real step of every sequence; ValueError for wrong lengths.

    Of a one-directional run this is h_n[-1] of the packed run. The reverse half of a bidirectional
    output ends at step 0, not here.
    """
    B, T = batch_and_steps(output, batch_first)
    last = checked_lengths(lengths, B, 1, T, ValueError) - 1
    return output[(np.arange(B), last) if batch_first else (last, np.arange(B))]  # (3)


def last_valid_back(
    d_last: np.ndarray, lengths: Any, total_length: int, batch_first: bool = False
) -> np.ndarray:
    """δ of an output of T = total_length steps."""
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
    """δ of a padded batch of T = total_length steps; ValueError for a sequence that is longer.

    RuntimeError for no sequences, whose further axes nothing tells, and what `pad_sequence` raises.
    """
    _refuse_no_batch(d_sequences)
    longest = np.zeros_like(d_sequences[0], shape=(total_length, *d_sequences[0].shape[1:]))
    padded = pad_sequence([*d_sequences, longest], batch_first, 0, padding_side)  # (2′)
    checked_lengths([len(d) for d in d_sequences], len(d_sequences), 0, total_length, ValueError)
    return padded[:-1] if batch_first else padded[:, :-1]


pad_sequence_back = unpad_sequence  # (1′), of δ of the padded batch and the lengths


def batch_and_steps(padded: np.ndarray, batch_first: bool) -> tuple[int, int]:
    """B and T of a padded batch; IndexError where it has fewer than two axes.

    AttributeError where it is no array.
    """
    if not isinstance(padded, np.ndarray):
        raise AttributeError(f"a padded batch should be an array, got {type(padded).__name__}.")
    if padded.ndim < 2:
        raise IndexError(f"expected a padded batch [T, B, ·] or [B, T, ·], got {padded.shape}.")
    B, T = padded.shape[:2] if batch_first else padded.shape[1::-1]
    return B, T


def checked_lengths(
    lengths: Any, B: int, least: int, most: int, error: type[Exception]
) -> np.ndarray:
    """The lengths as integers [B]; `error` where they are not that, or not in least … most.

    TypeError for what is not even numbers, ValueError for lists of different lengths.
    """
    told = f"'lengths' should be a list of {B} whole numbers, got {lengths}."
    try:
        given = np.asarray(lengths)
    except ValueError:
        raise ValueError(told) from None
    if given.dtype.kind not in "biuf":
        raise TypeError(told)
    with np.errstate(invalid="ignore"):  # NaN becomes some integer, and differs from it
        whole = given.astype(np.intp)  # indices, whatever the dtype of the values
    if given.ndim != 1 or (whole != given).any():
        raise error(told)
    if len(whole) != B:
        raise error(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(whole)} "
            f"(batch_size={B}): give one length for each sequence."
        )
    if B and (whole.min() < least or whole.max() > most):
        raise error(f"Expected every length between {least} and T = {most}, but got {lengths}.")
    return whole


def _refuse_no_batch(sequences: Sequence[Any]) -> None:
    """Refuse no sequences, and such as cannot lie side by side."""
    if len(sequences) == 0:
        raise RuntimeError("received an empty list of sequences, expected at least one.")
    for b, one in enumerate(sequences):
        if not isinstance(one, np.ndarray):
            raise TypeError(f"expected an array as sequence {b}, but got {type(one).__name__}.")
        if one.ndim == 0 or one.shape[1:] != sequences[0].shape[1:]:
            raise RuntimeError(
                f"expected sequences [length, ·] that differ in their lengths alone, got shape "
                f"{one.shape} for sequence {b} and {sequences[0].shape} for the first."
            )


def _real_steps(lengths: np.ndarray, T: int, padding_side: str) -> np.ndarray:
    """[B, T], True where the padded batch holds a sequence's own steps."""
    if padding_side not in ("right", "left"):
        raise RuntimeError(
            f"Expected padding_side to be one of left or right, but got {padding_side}."
        )
    real = np.arange(T) < lengths[:, None]
    return real if padding_side == "right" else real[:, ::-1]
