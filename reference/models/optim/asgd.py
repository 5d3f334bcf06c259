"""ASGD: gradient descent, and the average of its late steps.

    θ  parameter, g  its gradient after equations (1) and (2) of `steps`
    η  learning rate      t = 1, 2, …  number of the step      ℓ  decay, of θ and of the rate

    (1)  ηₜ = η / (1 + ℓ η (t − 1))^α
    (2)  θ ← θ (1 − ℓ ηₜ) − ηₜ g
    (3)  a ← a + μₜ (θ − a)                          μₜ = 1 / max(1, t − 1 − t₀), a = θ if μₜ = 1

Source: Polyak & Juditsky 1992 for the average; the rest is what torch.optim.ASGD computes, whose
documentation has no formula: it is Bottou's SGD 2, section "averaged SGD".
Page: docs/models/optim.md
"""

from typing import NamedTuple

import numpy as np

from ..parameters import Params
from .arguments import check_rates, check_step, to_float
from .steps import descent, step_each, zeros_of


class ASGDState(NamedTuple):
    """The number of steps taken and the average a."""

    t: int
    average: Params


def rate_of(t: int, lr: float, lambd: float, alpha: float) -> float:
    """ηₜ."""
    # Differs: torch computes the rate of a step at the end of the step before, with the η of that
    # step; both are equal if η never changes.
    rate: float = lr / (1 + lambd * lr * (t - 1)) ** alpha  # (1)
    return rate


def share_of(t: int, t0: float) -> float:
    """μₜ, the share of step t in the average."""
    return 1 / max(1, t - 1 - t0)


def update(
    theta: np.ndarray,
    g: np.ndarray,
    t: int,
    average: np.ndarray,
    *,
    lr: float,
    lambd: float = 1e-4,
    alpha: float = 0.75,
    t0: float = 1e6,
    weight_decay: float = 0.0,
    maximize: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """θ and a after step t."""
    g = descent(theta, g, weight_decay, maximize)
    rate, share = rate_of(t, lr, lambd, alpha), share_of(t, t0)
    theta = theta * (1 - lambd * rate) - rate * g  # (2)
    average = theta.copy() if share == 1 else average + share * (theta - average)  # (3)
    return theta, average


def asgd_start(params: Params) -> ASGDState:
    """The state before the first step. Raises TypeError for what is not a dict of arrays."""
    return ASGDState(0, zeros_of(params))


def asgd(
    params: Params,
    grads: Params,
    state: ASGDState,
    lr: float,
    lambd: float = 1e-4,
    alpha: float = 0.75,
    t0: float = 1e6,
    weight_decay: float = 0.0,
    maximize: bool = False,
) -> tuple[Params, ASGDState]:
    """Parameters and state after one step. Raises errors as `adam`."""
    # Differs: torch accepts every lambd and alpha.
    numbers = check_rates(lr=lr, lambd=lambd, alpha=alpha, weight_decay=weight_decay)
    t0 = to_float("t0", t0)
    check_step(params, grads, state, ASGDState, "asgd_start")
    return step_each(update, params, grads, state, t0=t0, maximize=maximize, **numbers)
