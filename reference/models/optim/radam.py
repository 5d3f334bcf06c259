"""RAdam: Adam, rectified for the variance of its first steps.

    θ  parameter, g  its gradient after equations (1) and (2) of `steps`, without (2) if decoupled
    η  learning rate      t = 1, 2, …  number of the step

    (1)  θ ← θ (1 − η λ)                             decoupled weight decay only
    (2)  m ← m + (1 − β₁)(g − m)                     0 at first
    (3)  v ← β₂ v + (1 − β₂) g²                      0 at first
    (4)  ρ∞ = 2 / (1 − β₂) − 1                       ρ = ρ∞ − 2 t β₂ᵗ / (1 − β₂ᵗ)
    (5)  r = √((ρ − 4)(ρ − 2) ρ∞ / ((ρ∞ − 4)(ρ∞ − 2) ρ))
    (6)  a = r √(1 − β₂ᵗ) / (√v + ε)                 if ρ > 5, otherwise 1
    (7)  θ ← θ − η m / (1 − β₁ᵗ) · a

Source: Liu et al. 2020; torch.optim.RAdam's documentation for (1), and for 5 and ε in (6).
Page: docs/models/optim.md
"""

from typing import NamedTuple

import numpy as np

from ..parameters import Params
from .arguments import check_betas, check_rates, check_step
from .steps import descent, step_each, zeros_of


class RAdamState(NamedTuple):
    """The number of steps taken and the two running means."""

    t: int
    m: Params
    v: Params


def update(
    theta: np.ndarray,
    g: np.ndarray,
    t: int,
    m: np.ndarray,
    v: np.ndarray,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """θ, m and v after step t."""
    beta_1, beta_2 = betas
    g = descent(theta, g, 0 if decoupled_weight_decay else weight_decay, maximize)
    if decoupled_weight_decay:
        theta = theta * (1 - lr * weight_decay)  # (1)
    m = m + (1 - beta_1) * (g - m)  # (2)
    v = beta_2 * v + (1 - beta_2) * (g * g)  # (3)
    limit = 2 / (1 - beta_2) - 1
    rho = limit - 2 * t * beta_2**t / (1 - beta_2**t)  # (4)
    a = 1.0
    # Differs: 5, as in torch; Liu et al. rectify from ρ = 4 on. ε is not in their (6).
    if rho > 5:
        r = ((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)) ** 0.5  # (5)
        a = r * (1 - beta_2**t) ** 0.5 / (np.sqrt(v) + eps)  # (6)
    return theta - lr * (m / (1 - beta_1**t)) * a, m, v  # (7)


def radam_start(params: Params) -> RAdamState:
    """The state before the first step. Raises TypeError for what is not a dict of arrays."""
    return RAdamState(0, zeros_of(params), zeros_of(params))


def radam(
    params: Params,
    grads: Params,
    state: RAdamState,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
) -> tuple[Params, RAdamState]:
    """Parameters and state after one step. Raises errors as `adam`."""
    betas = check_betas(betas)
    numbers = check_rates(lr=lr, eps=eps, weight_decay=weight_decay)
    check_step(params, grads, state, RAdamState, "radam_start")
    return step_each(
        update,
        params,
        grads,
        state,
        betas=betas,
        decoupled_weight_decay=decoupled_weight_decay,
        maximize=maximize,
        **numbers,
    )
