"""What recorded norms say about a net in training.

    credit  [K]  ‖∂L/∂h‖ at distance 0 … K−1 from the loss      hidden  [T]  ‖h_t‖ over time
    span    how far a norm must move, as a factor, before it is called growth or decay

    signal                                     issue                remedy
    (1)  credit grows with distance            exploding gradients  clip, shorter TBPTT, lower rate
    (2)  credit decays with distance           vanishing credit     gated cell, curriculum
    (3)  hidden grows with time                unstable recurrence  recurrent init, normalise, clip
    (4)  hidden hardly varies with its input   state ignored        less regularisation, gate biases

(4) is a hint alone: a saturated or orthogonal net keeps the norm of h while h itself follows every
input. So look at h before believing it.

Often (1) and (2) are read off the global norm of the parameters' gradient. For (2) this cannot
work: that gradient is a sum over steps, and the steps near the loss keep it away from zero however
little arrives from afar. The norm of ∂L/∂h against distance tells the two apart.

Source: Pascanu, Mikolov & Bengio 2013; Goodfellow, Bengio & Courville, Deep Learning, §10.7–10.11.
Page: docs/dynamics/diagnostics.md
"""

from typing import NamedTuple

import numpy as np


class Finding(NamedTuple):
    """An issue, the number that shows it, and what to try."""

    issue: str
    evidence: str
    remedy: str


def diagnose(credit: np.ndarray, hidden: np.ndarray, span: float = 1e3) -> list[Finding]:
    """The likely issues, none for a healthy net. Both arrays need two entries or more.

    `hidden` should be recorded on inputs that vary, for (4) looks for a state that does not.
    """
    found = []
    grown, left, flow = growth(credit), change(credit), rate(credit)
    if not grown < span:  # not a number counts as exploded
        evidence = f"‖∂L/∂h‖ grows by {flow:.3g} per step of distance, up to {grown:.3g} in all"
        remedy = "clip the gradient, cut the sequence shorter, make the step smaller"
        found.append(Finding("exploding gradients", evidence, remedy))  # (1)
    elif left < 1 / span:
        evidence = f"‖∂L/∂h‖ shrinks by {flow:.3g} per step of distance, {left:.3g} in all"
        remedy = "use a gated cell or attention, start with shorter sequences"
        found.append(Finding("vanishing credit", evidence, remedy))  # (2)
    grown = growth(hidden)
    if not grown < span:
        evidence = f"‖h‖ grows by {rate(hidden):.3g} per step, up to {grown:.3g} in all"
        remedy = "start from a smaller or orthogonal recurrent weight, normalise, clip"
        found.append(Finding("unstable recurrence", evidence, remedy))  # (3)
    elif variation(hidden) < 1 / span:
        evidence = f"‖h‖ varies by {variation(hidden):.3g} of its size while the input varies"
        remedy = "see that h itself stands still; then regularise less, look at the gates' biases"
        found.append(Finding("state ignored", evidence, remedy))  # (4)
    return found


def rate(norms: np.ndarray) -> np.floating:
    """The factor per step of the straight line through log norms [K]; 0 where the last is 0.

    Other zeros are left out, for they have no logarithm; NaN where fewer than two norms are left.
    """
    if not norms[-1]:
        return norms[-1]
    k = np.flatnonzero(norms)
    with np.errstate(invalid="ignore"):
        logs, k = np.log(norms[k]), k - k.mean()
        return np.exp(k @ logs / (k @ k))


def growth(norms: np.ndarray) -> np.floating:
    """The largest norm over the first that is not 0, NaN where one is; 0 where all are 0."""
    return _from_the_first(norms, norms.max())


def change(norms: np.ndarray) -> np.floating:
    """The last norm over the first that is not 0; 0 where the last is 0."""
    return _from_the_first(norms, norms[-1])


def variation(norms: np.ndarray) -> np.floating:
    """The spread of the later half of the norms relative to their mean; 0 where all are 0."""
    later = norms[len(norms) // 2 :]
    mean = later.mean()
    return np.ptp(later) / mean if mean > 0 else mean


def _from_the_first(norms: np.ndarray, norm: np.floating) -> np.floating:
    with np.errstate(invalid="ignore"):  # ∞ / ∞
        return norm / norms[np.flatnonzero(norms)[0]] if norm else norm
