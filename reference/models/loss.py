"""Softmax cross-entropy over tokens with masks and weights, and the shift of labels by one.

    o  [..., V]  logits      y  [...]  labels 0 … V−1      p = softmax(o)
    m  [...]     mask, 1 where a label counts; a label where m = 0 is never read
    w  [...]     weights, a function of m only: the denominator of the mean

Forward
    (1)  ℓ = log Σ_j e^(o_j) − o_y         = −log p_y, finite for logits 10⁴ apart
    (2)  L = Σ w ℓ

    per_token           w = m / Σ m                   every label counts the same; 0 if none counts
    per_token_as_torch  w = m / Σ m                   NaN if none counts, as with ignore_index
    per_sequence        w = m / (Σ_t m · sequences)   every sequence [..., T] with a label that
                                                      counts; they count the same

Adjoint
    (2′) δℓ = w δL
    (1′) δo = δℓ (p − 1[y])                Σ_j δo_j = 0: adding a constant to o changes nothing

Masked logits are replaced by 0, not multiplied by 0: NaN · 0 would still be NaN in the sum.

Source: Bridle 1990; torch.nn.functional.cross_entropy for ignore_index, which is m = [y ≠ index].
Page: docs/models/loss.md
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..activations import log_softmax
from ..arrays import check_array, check_tokens


class Tape(NamedTuple):
    """The values that the primed equations read: log p [..., V], the rest [...]."""

    log_p: np.ndarray
    labels: np.ndarray
    mask: np.ndarray
    weights: np.ndarray


def per_token(m: np.ndarray) -> np.ndarray:
    """m / Σ m, and 0 when nothing counts: loss and gradient of a batch of padding are 0."""
    weights: np.ndarray = m / (m.sum() or 1)
    return weights


def per_token_as_torch(m: np.ndarray) -> np.ndarray:
    """m / Σ m, which is 0/0 = NaN when nothing counts, as with torch's ignore_index."""
    with np.errstate(invalid="ignore"):
        weights: np.ndarray = m / m.sum()
    return weights


def per_sequence(m: np.ndarray) -> np.ndarray:
    """The weights [..., T] of each sequence's mean, averaged over the sequences with a label."""
    n = m.sum(axis=-1, keepdims=True)
    return m / np.where(n == 0, 1, n) / max(int(np.count_nonzero(n)), 1)


def cross_entropy(
    logits: np.ndarray,
    labels: np.ndarray,
    mask: np.ndarray | None = None,
    weights: Callable[[np.ndarray], np.ndarray] = per_token,
) -> tuple[np.ndarray, Tape]:
    """L, a scalar, from logits [..., V], integer labels [...] and a boolean mask [...].

    Without a mask every label counts. An empty batch reduces like one whose labels are all masked:
    to 0, or to NaN with `per_token_as_torch`. Raises ValueError when the shapes do not fit,
    IndexError for a label that counts and is outside 0 … V−1; RuntimeError for labels that are not
    integers, for a mask that is not boolean, and for weights of another shape than the mask's;
    TypeError for a value that is not an array.
    """
    check_array("logits", logits, TypeError)
    labels = check_tokens("labels", labels)
    mask = np.ones(labels.shape, dtype=bool) if mask is None else _checked_mask(mask)
    if not logits.ndim or not logits.shape[:-1] == labels.shape == mask.shape:
        raise ValueError(
            f"Expected logits [..., V] with labels [...] and mask [...], got {list(logits.shape)}, "
            f"{list(labels.shape)} and {list(mask.shape)}."
        )
    y = np.where(mask, labels, 0)
    check_labels(y, logits.shape[-1])
    log_p = log_softmax(np.where(mask[..., None], logits, 0))
    losses = -np.take_along_axis(log_p, y[..., None], axis=-1)[..., 0]  # (1)
    w = _checked_weights(weights(mask * np.ones_like(losses)), losses.shape)
    tape = Tape(log_p, y, mask, w)
    if not losses.size:  # an empty batch reduces like one whose labels are all ignored
        return weights(np.zeros_like(losses, shape=(1,) * losses.ndim)).sum(), tape
    return (w * losses).sum(), tape  # (2)


def check_labels(y: np.ndarray, V: int) -> None:
    """Raise IndexError for a label outside 0 … V−1."""
    if y.size and (y.min() < 0 or y.max() >= V):
        raise IndexError(
            f"Target {y.min() if y.min() < 0 else y.max()} is out of bounds: expected labels 0 to "
            f"{V - 1}; mask the labels of padding."
        )


def cross_entropy_back(tape: Tape, d_loss: float | np.ndarray = 1.0) -> np.ndarray:
    """δo [..., V] from δL, a scalar."""
    one_hot = np.arange(tape.log_p.shape[-1]) == tape.labels[..., None]
    d_losses = np.where(tape.mask, tape.weights, 0) * d_loss  # (2′)
    d_logits: np.ndarray = d_losses[..., None] * (np.exp(tape.log_p) - one_hot)  # (1′)
    return d_logits


def shift(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets [B, T−1] of a language model from ids [B, T]: a target is the next token.

    Raises ValueError when there is no next token, RuntimeError for ids that are not integers.
    """
    ids = check_tokens("ids", ids)
    if ids.ndim != 2 or ids.shape[1] < 2:
        raise ValueError(f"Expected ids [B, T] with T ≥ 2, got shape {list(ids.shape)}.")
    return ids[:, :-1], ids[:, 1:]


def _checked_mask(mask: np.ndarray) -> np.ndarray:
    """A copy of the mask, because the caller may change it before the backward pass."""
    if check_array("mask", mask, TypeError).dtype != bool:
        raise RuntimeError(f"Expected a boolean mask, got {mask.dtype}; pass mask != 0.")
    return mask.copy()


def _checked_weights(w: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The result of a function of weights; of a mask without axes it may be a scalar of NumPy."""
    if not isinstance(w, np.generic):
        check_array("the result of weights", w, TypeError)
    if w.shape != shape:
        raise RuntimeError(
            f"Expected the function of weights to return the shape of the mask, {list(shape)}, got "
            f"{list(w.shape)}."
        )
    return w
