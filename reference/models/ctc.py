"""Connectionist temporal classification: the loss of labels whose steps are not known.

    o [T, B, V]  logits             log p = log softmax(o), which `ctc` is given
    y [B, U]     labels             ∅  the blank, a token that is never a label
    n [B]        steps of a row     u [B]  its labels; what lies beyond both is never read
    z [B, S]     y with blanks in between, S = 2U + 1; a path stays at its s, or moves on by 1, or
                 by 2 over a blank between different labels

Forward
    (1)  z = ∅ y_1 ∅ y_2 … y_u ∅
    (2)  α_t(s) = log p_t(z_s) + log Σ e^(α_(t−1)(r))    r = s, s−1, and s−2 where z_s ≠ ∅, z_(s−2)
         α_1(s) = log p_1(z_s) at the first two s, else −∞
    (3)  ℓ = −log Σ e^(α_n(s))                           s at the last label and the last blank

Adjoint
    (3′) β_n(s) = 0 at the same two s, else −∞
    (2′) β_t(s) = log Σ e^(β_(t+1)(r) + log p_(t+1)(z_r))    over the r that (2) reaches from s
    (1′) δ log p_t(k) = −δℓ Σ e^(α_t(s) + β_t(s) + ℓ)        over the s with z_s = k

e^(α_t(s) + β_t(s) + ℓ) is the probability that a path of these labels is at s in step t. Its sum
over s is 1 at every step, so that `log_softmax_back` makes of (1′) the well-known
δo = δℓ (p − Σ e^…).

A row for whose labels there are too few steps has no path and ℓ = ∞; its gradient is NaN, or with
`zero_infinity` both are 0.

Source: Graves, Fernández, Gomez & Schmidhuber 2006, eq. 5–16, in logarithms as in torch.
Page: docs/models/ctc.md
"""

from typing import NamedTuple

import numpy as np

from ..arrays import check_array, check_tokens, is_token


class Tape(NamedTuple):
    """The values that the primed equations read.

    log_p [T, B, V]   z [B, S] intp   skips [B, S], whether a path may arrive from s − 2
    alpha [T, B, S]   ends [B, S], whether a path may end there   steps [B], losses [B]
    """

    log_p: np.ndarray
    z: np.ndarray
    skips: np.ndarray
    alpha: np.ndarray
    ends: np.ndarray
    steps: np.ndarray
    losses: np.ndarray
    zero_infinity: bool


def ctc(
    log_p: np.ndarray,
    labels: np.ndarray,
    steps: np.ndarray,
    lengths: np.ndarray,
    blank: int = 0,
    zero_infinity: bool = False,
) -> tuple[np.ndarray, Tape]:
    """ℓ [B] from log probabilities [T, B, V], labels [B, U], the steps [B] and labels [B] of a row.

    Raises TypeError for values that are not arrays, RuntimeError for tokens that are not integers
    and shapes that do not fit, ValueError for steps or lengths that do not exist, IndexError for a
    label or blank outside 0 … V−1, ValueError for a label that is the blank.
    """
    check_array("log_p", log_p, TypeError)
    labels, steps, lengths = (
        check_tokens(name, value)
        for name, value in (("labels", labels), ("steps", steps), ("lengths", lengths))
    )
    _check_sizes(log_p, labels, steps, lengths)
    counted = np.arange(labels.shape[1]) < lengths[:, None]
    _check_tokens(labels[counted], blank, log_p.shape[2])
    z = np.full((len(labels), 2 * labels.shape[1] + 1), blank)
    z[:, 1::2] = np.where(counted, labels, blank)  # (1)
    skips = np.zeros_like(z, dtype=bool)
    skips[:, 2:] = (z[:, 2:] != blank) & (z[:, 2:] != z[:, :-2])
    last, s = 2 * lengths[:, None], np.arange(z.shape[1])
    ends = (s == last) | (s == last - 1)

    emitted = _emitted(log_p, z)
    alpha = np.full_like(emitted, -np.inf)
    alpha[:1, :, :2] = emitted[:1, :, :2]
    for t in range(1, len(alpha)):
        arrived = [alpha[t - 1], _moved(alpha[t - 1], 1), _where(skips, _moved(alpha[t - 1], 2))]
        alpha[t] = emitted[t] + _log_sum_exp(np.stack(arrived))  # (2)
    reached = alpha[steps - 1, np.arange(len(z))]
    losses = -_log_sum_exp(_where(ends, reached).T)  # (3)
    tape = Tape(log_p, z, skips, alpha, ends, steps, losses, zero_infinity)
    return np.where(_infinite(tape), 0, losses), tape


def ctc_back(tape: Tape, d_losses: np.ndarray) -> np.ndarray:
    """δ log p [T, B, V] from δℓ [B]."""
    # Differs: torch adds p to (1′), which `log_softmax_back` does not change where p is a softmax.
    emitted = _emitted(tape.log_p, tape.z)
    beta = np.full_like(tape.alpha, -np.inf)
    for t in reversed(range(len(beta))):
        if t + 1 < len(beta):
            after = beta[t + 1] + emitted[t + 1]
            left = [after, _moved(after, -1), _moved(_where(tape.skips, after), -2)]
            beta[t] = _log_sum_exp(np.stack(left))  # (2′)
        beta[t] = np.where(
            np.equal(t, tape.steps - 1)[:, None], _where(tape.ends, 0), beta[t]
        )  # (3′)
    with np.errstate(invalid="ignore"):  # ∞ − ∞ where there is no path
        occupied = np.exp(tape.alpha + beta + tape.losses[:, None])
    inside = np.less(np.arange(len(beta))[:, None], tape.steps) & ~_infinite(tape)
    weighted = np.where(inside[..., None], -d_losses[:, None] * occupied, 0)
    d_log_p = np.zeros_like(weighted, shape=tape.log_p.shape)
    for s in range(tape.z.shape[1]):
        d_log_p[:, np.arange(len(tape.z)), tape.z[:, s]] += weighted[:, :, s]  # (1′)
    return d_log_p


def mean_per_label(losses: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The mean over rows of ℓ [B] divided by the labels [B] of a row, of at least 1: torch's
    "mean"."""
    mean: np.ndarray = (losses / np.maximum(lengths, 1)).mean()
    return mean


def _emitted(log_p: np.ndarray, z: np.ndarray) -> np.ndarray:
    """log p_t(z_s) [T, B, S]."""
    return np.take_along_axis(log_p, z[None], axis=2)


def _moved(values: np.ndarray, by: int) -> np.ndarray:
    """The values [B, S] moved along s; −∞ where none arrives."""
    moved = np.full_like(values, -np.inf)
    if by > 0:
        moved[:, by:] = values[:, :-by]
    else:
        moved[:, :by] = values[:, -by:]
    return moved


def _where(allowed: np.ndarray, values: np.ndarray | float) -> np.ndarray:
    """The values where they are allowed, elsewhere −∞."""
    return np.where(allowed, values, -np.inf)


def _log_sum_exp(terms: np.ndarray) -> np.ndarray:
    """log Σ e^terms over the first axis; −∞ where every term is."""
    largest = terms.real.max(axis=0, initial=-np.inf)
    largest = np.where(largest == -np.inf, 0, largest)
    with np.errstate(divide="ignore"):
        total: np.ndarray = largest + np.log(np.exp(terms - largest).sum(axis=0))
    return total


def _infinite(tape: Tape) -> np.ndarray:
    """Whether a row [B] counts 0 because it has no path."""
    infinite: np.ndarray = tape.losses.real == np.inf
    return infinite & tape.zero_infinity


def _check_sizes(
    log_p: np.ndarray, labels: np.ndarray, steps: np.ndarray, lengths: np.ndarray
) -> None:
    """Raise an error unless the shapes fit, and every row has its steps and labels."""
    if log_p.ndim != 3 or labels.ndim != 2 or not len(labels) == log_p.shape[1]:
        raise RuntimeError(
            f"Expected log_p [T, B, V] and labels [B, U], got {list(log_p.shape)} and "
            f"{list(labels.shape)}."
        )
    T, B, _ = log_p.shape
    for name, value, least, most in (("steps", steps, 1, T), ("lengths", lengths, 0, -1)):
        most = labels.shape[1] if most < 0 else most
        if value.shape != (B,):
            raise RuntimeError(f"Expected {name} of size ({B},), got {value.shape}.")
        # Differs: torch accepts rows without steps; their loss is 0 or ∞ whatever the net says.
        if B and not least <= value.min() <= value.max() <= most:
            raise ValueError(
                f"Expected {name} between {least} and {most}, got {value.min()} to {value.max()}."
            )


def _check_tokens(y: np.ndarray, blank: int, V: int) -> None:
    """Raise an error unless the labels that count [·] and the blank are different tokens."""
    if not is_token(blank) or not 0 <= blank < V:
        raise IndexError(f"Expected a blank between 0 and {V - 1}, got {blank}.")
    # Differs: torch accepts such labels on the CPU, and reads other memory.
    if y.size and not 0 <= y.min() <= y.max() < V:
        raise IndexError(f"Expected labels between 0 and {V - 1}, got {y.min()} to {y.max()}.")
    # Differs: torch accepts the blank as a label, and computes a loss that no path has.
    if (y == blank).any():
        raise ValueError(f"Expected labels other than the blank {blank}; choose another blank.")
