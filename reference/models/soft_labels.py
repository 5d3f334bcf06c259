"""Softmax cross-entropy with probabilities as targets, class weights and label smoothing.

    o [..., V]  logits     y [...]  labels, or t [..., V]  probabilities of the classes
    v [V]       weights of the classes, 1 without them      ε  smoothing, 0 without it
    m [...]     1 where a label counts, [y ≠ ignore_index]; 1 for probabilities

Forward
    (1)  q = (1 − ε) t + ε / V             t = 1[y] for labels
    (2)  log p = log softmax(o)
    (3)  ℓ = −m Σ_j v_j q_j log p_j
    (4)  L = Σ ℓ / n                       n = Σ m v_y for labels, the number of rows for
                                           probabilities, and 1 where the reduction is the sum

Adjoint
    (4′) δℓ = δL / n
    (3′) δ log p_j = −m v_j q_j δℓ         δq_j = −m v_j log p_j δℓ
    (2′) δo = δ log p − p Σ_j δ log p_j
    (1′) δt = (1 − ε) δq

Logits of ignored labels are replaced by 0, as in `loss`, and 0 log 0 is 0. n counts v_y, not
Σ_j v_j q_j, also under smoothing, as in torch. Where no label counts, the mean is 0/0 = NaN and δo
is 0.

Source: torch.nn.functional.cross_entropy; Szegedy et al. 2016, section 7, for ε.
Page: docs/models/soft_labels.md
"""

from typing import NamedTuple

import numpy as np

from ..activations import log_softmax, log_softmax_back
from ..arrays import check_array, check_shape, check_tokens
from .loss import check_labels


class Tape(NamedTuple):
    """The values that the primed equations read: log p, q [..., V], the weights m v [..., V], n."""

    log_p: np.ndarray
    q: np.ndarray
    weights: np.ndarray
    n: np.ndarray
    smoothing: float
    soft: bool  # whether the targets are probabilities


class Grads(NamedTuple):
    """δo and δt [..., V]; δt is None for labels."""

    logits: np.ndarray
    targets: np.ndarray | None


def soft_cross_entropy(
    logits: np.ndarray,
    targets: np.ndarray,
    class_weights: np.ndarray | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> tuple[np.ndarray, Tape]:
    """L, a scalar, from logits [..., V] and labels [...] (integers) or probabilities [..., V].

    The reduction is "mean" or "sum". Raises TypeError for values that are not arrays, RuntimeError
    for shapes that do not fit, IndexError for a label that counts and is outside 0 … V−1,
    ValueError for smoothing outside [0, 1] and for another reduction.
    """
    check_array("logits", logits, TypeError)
    check_array("targets", targets, TypeError)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"Expected label_smoothing between 0 and 1, got {label_smoothing}.")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"Expected reduction to be mean or sum, got {reduction!r}.")
    V = logits.shape[-1]
    v = np.ones_like(logits, shape=(V,)) if class_weights is None else class_weights
    check_shape("class_weights", v, (V,), "one for each class")
    soft = targets.dtype.kind in "fc"
    if soft:
        check_shape("targets", targets, logits.shape, "as of the logits")
        t, m = targets, np.ones(logits.shape[:-1], dtype=bool)
        n = np.asarray(m.size, logits.dtype)
    else:
        labels = check_tokens("targets", targets)
        check_shape("targets", labels, logits.shape[:-1], "as of the logits without their classes")
        m = labels != ignore_index
        y = np.where(m, labels, 0)
        check_labels(y, V)
        t = (np.arange(V) == y[..., None]).astype(logits.dtype)
        n = (m * v[y]).sum()
    q = (1 - label_smoothing) * t + label_smoothing / V  # (1)
    log_p = log_softmax(np.where(m[..., None], logits, 0))  # (2)
    weights = m[..., None] * v
    # Differs: torch has 0 · −∞ = NaN where a target is a probability of 0.
    losses = -(weights * q * np.where(q == 0, 0, log_p)).sum(axis=-1)  # (3)
    n = n if reduction == "mean" else np.ones_like(n)
    with np.errstate(invalid="ignore"):  # 0/0 where no label counts
        L = losses.sum() / n  # (4)
    return L, Tape(log_p, q, weights, n, label_smoothing, soft)


def soft_cross_entropy_back(tape: Tape, d_loss: float | np.ndarray = 1.0) -> Grads:
    """δo and δt from δL, a scalar."""
    d_losses = d_loss / np.where(tape.n == 0, 1, tape.n)  # (4′)
    d_log_p = -tape.weights * tape.q * d_losses  # (3′)
    d_q = -tape.weights * tape.log_p * d_losses  # (3′)
    d_logits = log_softmax_back(tape.log_p, d_log_p)  # (2′)
    return Grads(d_logits, (1 - tape.smoothing) * d_q if tape.soft else None)  # (1′)
