"""Adadelta: steps in the units of the parameter, from running means of squares.

    θ  parameter, g  its gradient after equations (1) and (2) of `steps`
    η  learning rate      ρ  decay of the means

    (1)  s ← ρ s + (1 − ρ) g²                        0 at first
    (2)  d = √(a + ε) / √(s + ε) · g
    (3)  a ← ρ a + (1 − ρ) d²                        0 at first
    (4)  θ ← θ − η d

Source: Zeiler 2012; torch.optim.Adadelta's documentation for η, which is 1 in Zeiler's.
Page: docs/models/optim.md
"""

from typing import NamedTuple

import numpy as np

from ..parameters import Params
from .arguments import check_rate, check_rates, check_step
from .steps import descent, step_each, zeros_of


class AdadeltaState(NamedTuple):
    """The number of steps taken, and the running means of g² and d²."""

    t: int
    s: Params
    a: Params


def update(
    theta: np.ndarray,
    g: np.ndarray,
    t: int,
    s: np.ndarray,
    a: np.ndarray,
    *,
    lr: float,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    maximize: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """θ, s and a after a step; its number t has no effect."""
    g = descent(theta, g, weight_decay, maximize)
    s = rho * s + (1 - rho) * (g * g)  # (1)
    d = np.sqrt(a + eps) / np.sqrt(s + eps) * g  # (2)
    a = rho * a + (1 - rho) * (d * d)  # (3)
    return theta - lr * d, s, a  # (4)


def adadelta_start(params: Params) -> AdadeltaState:
    """The state before the first step. Raises TypeError for what is not a dict of arrays."""
    return AdadeltaState(0, zeros_of(params), zeros_of(params))


def adadelta(
    params: Params,
    grads: Params,
    state: AdadeltaState,
    lr: float,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    maximize: bool = False,
) -> tuple[Params, AdadeltaState]:
    """Parameters and state after one step. Raises errors as `adam`; ρ must be in [0, 1)."""
    # Differs: torch accepts ρ = 1, with which s and a stay 0.
    rho = check_rate("rho", rho, 1)
    numbers = check_rates(lr=lr, eps=eps, weight_decay=weight_decay)
    check_step(params, grads, state, AdadeltaState, "adadelta_start")
    return step_each(update, params, grads, state, rho=rho, maximize=maximize, **numbers)
