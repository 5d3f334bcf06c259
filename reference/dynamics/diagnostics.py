"""Issues of a net in training, diagnosed from recorded norms.

    credit  [K]  ‖∂L/∂h‖ at distance 0 … K−1 from the loss      hidden  [T]  ‖h_t‖ over time
    span    the factor by which a norm must change to count as growth or decay

    signal                                     issue                remedy
    (1)  credit grows with distance            exploding gradients  clip, shorter TBPTT, lower rate
    (2)  credit decays with distance           vanishing credit     gated cell, curriculum
    (3)  hidden grows with time                unstable recurrence  recurrent init, normalise, clip
    (4)  hidden hardly varies with its input   state ignored        less regularisation, gate biases

(4) is only a hint: in a saturated or orthogonal net the norm of h stays constant while h itself
follows every input. Look at h before acting on (4).

(1) and (2) are often judged by the global norm of the gradient of the parameters. For (2) this
cannot work: that gradient is a sum over steps, and the steps near the loss keep it away from zero
even if no credit arrives from distant steps. The norm of ∂L/∂h against distance separates the two.

Source: Pascanu, Mikolov & Bengio 2013; Goodfellow, Bengio & Courville, Deep Learning, §10.7–10.11.
Page: docs/dynamics/diagnostics.md
"""

from typing import NamedTuple

import numpy as np


class Finding(NamedTuple):
    """An issue, the number that shows it, and a remedy to try."""

    issue: str
    evidence: str
    remedy: str


def diagnose(credit: np.ndarray, hidden: np.ndarray, span: float = 1e3) -> list[Finding]:
    """The likely issues; an empty list for a healthy net.

    `credit` [K] and `hidden` [T] need at least two entries each. Record `hidden` on inputs that
    vary, because (4) looks for a state that does not vary with them.
    """
    findings = []
    largest, last, per_step = growth(credit), change(credit), rate(credit)
    if not largest < span:  # NaN counts as exploded
        evidence = (
            f"‖∂L/∂h‖ grows by {per_step:.3g} per step of distance, up to {largest:.3g} in all"
        )
        remedy = "clip the gradient, cut the sequence shorter, make the step smaller"
        findings.append(Finding("exploding gradients", evidence, remedy))  # (1)
    elif last < 1 / span:
        evidence = f"‖∂L/∂h‖ shrinks by {per_step:.3g} per step of distance, {last:.3g} in all"
        if not last:  # it underflowed
            distance = int(np.flatnonzero(credit).max(initial=-1)) + 1
            evidence = f"‖∂L/∂h‖ is 0 from {distance} steps of distance on"
        remedy = "use a gated cell or attention, start with shorter sequences"
        findings.append(Finding("vanishing credit", evidence, remedy))  # (2)
    largest = growth(hidden)
    if not largest < span:
        evidence = f"‖h‖ grows by {rate(hidden):.3g} per step, up to {largest:.3g} in all"
        remedy = "start from a smaller or orthogonal recurrent weight, normalise, clip"
        findings.append(Finding("unstable recurrence", evidence, remedy))  # (3)
    elif variation(hidden) < 1 / span:
        evidence = f"‖h‖ varies by {variation(hidden):.3g} of its mean while the input varies"
        remedy = "check that h itself is constant; then regularise less, check the gate biases"
        findings.append(Finding("state ignored", evidence, remedy))  # (4)
    return findings


def rate(norms: np.ndarray) -> np.floating:
    """The factor per step, from a straight line fitted to log norms [K]; 0 if the last norm is 0.

    Other zeros are left out, because they have no logarithm; NaN if fewer than two norms are left.
    """
    last: np.floating = norms[-1]
    if not last:
        return last
    k = np.flatnonzero(norms)
    with np.errstate(invalid="ignore"):
        logs, k = np.log(norms[k]), k - k.mean()
        factor: np.floating = np.exp(k @ logs / (k @ k))
    return factor


def growth(norms: np.ndarray) -> np.floating:
    """The largest norm / the first nonzero norm; NaN if any norm is NaN, 0 if all are 0."""
    return _relative_to_first(norms, norms.max())


def change(norms: np.ndarray) -> np.floating:
    """The last norm / the first nonzero norm; 0 if the last norm is 0."""
    return _relative_to_first(norms, norms[-1])


def variation(norms: np.ndarray) -> np.floating:
    """The range of the later half of the norms relative to their mean; 0 if all are 0."""
    later = norms[len(norms) // 2 :]
    mean: np.floating = later.mean()
    return np.ptp(later) / mean if mean > 0 else mean


def _relative_to_first(norms: np.ndarray, norm: np.floating) -> np.floating:
    if not norm:
        return norm
    first: np.floating = norms[np.flatnonzero(norms)[0]]
    with np.errstate(invalid="ignore"):  # ∞ / ∞
        return norm / first
