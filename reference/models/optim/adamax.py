"""Adamax: Adam with a maximum in place of the second running mean.

    θ  parameter, g  its gradient after equations (1) and (2) of `steps`
    η  learning rate      t = 1, 2, …  number of the step

    (1)  m ← m + (1 − β₁)(g − m)                     0 at first
    (2)  u ← max(β₂ u, |g| + ε)                      0 at first
    (3)  θ ← θ − η / (1 − β₁ᵗ) · m / u

Source: Kingma & Ba 2015, section 7.1.
Page: docs/models/optim.md
"""

from typing import NamedTuple

import numpy as np

from ..parameters import Params
from .arguments import check_betas, check_rates, check_step
from .steps import descent, step_each, zeros_of


class AdamaxState(NamedTuple):
    """The number of steps taken, the running mean, and the maximum of (2)."""

    t: int
    m: Params
    u: Params


def update(
    theta: np.ndarray,
    g: np.ndarray,
    t: int,
    m: np.ndarray,
    u: np.ndarray,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    maximize: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """θ, m and u after step t."""
    beta_1, beta_2 = betas
    g = descent(theta, g, weight_decay, maximize)
    m = m + (1 - beta_1) * (g - m)  # (1)
    # Differs: ε is added to |g|, as in torch; Kingma & Ba have none.
    u = np.maximum(beta_2 * u, abs(g) + eps)  # (2)
    return theta - lr / (1 - beta_1**t) * m / u, m, u  # (3)


def adamax_start(params: Params) -> AdamaxState:
    """The state before the first step. Raises TypeError for what is not a dict of arrays."""
    return AdamaxState(0, zeros_of(params), zeros_of(params))


def adamax(
    params: Params,
    grads: Params,
    state: AdamaxState,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    maximize: bool = False,
) -> tuple[Params, AdamaxState]:
    """Parameters and state after one step. Raises errors as `adam`."""
    betas = check_betas(betas)
    numbers = check_rates(lr=lr, eps=eps, weight_decay=weight_decay)
    check_step(params, grads, state, AdamaxState, "adamax_start")
    return step_each(update, params, grads, state, betas=betas, maximize=maximize, **numbers)
