"""NAdam: Adam with Nesterov's momentum.

    θ  parameter, g  its gradient after equations (1) and (2) of `steps`, without (2) if decoupled
    η  learning rate      t = 1, 2, …  number of the step      ψ  decay of the momentum

    (1)  θ ← θ (1 − η λ)                             decoupled weight decay only
    (2)  μₜ = β₁ (1 − 0.96^{t ψ} / 2)                πₜ = μ₁ μ₂ … μₜ
    (3)  m ← m + (1 − β₁)(g − m)                     0 at first
    (4)  v ← β₂ v + (1 − β₂) g²                      0 at first
    (5)  d = √(v / (1 − β₂ᵗ)) + ε
    (6)  θ ← θ − η (1 − μₜ) / (1 − πₜ) · g / d − η μₜ₊₁ / (1 − πₜ₊₁) · m / d

Source: Dozat 2016; torch.optim.NAdam's documentation for the constants of (2) and for (1).
Page: docs/models/optim.md
"""

import math
from typing import NamedTuple

import numpy as np

from ..parameters import Params
from .arguments import check_betas, check_rates, check_step
from .steps import descent, step_each, zeros_of


class NAdamState(NamedTuple):
    """The number of steps taken and the two running means."""

    t: int
    m: Params
    v: Params


def momentum_of(t: int, beta_1: float, momentum_decay: float) -> float:
    """μₜ, the momentum of step t."""
    mu: float = beta_1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))  # (2)
    return mu


def momentum_product(t: int, beta_1: float, momentum_decay: float) -> float:
    """πₜ = μ₁ μ₂ … μₜ."""
    # Differs: torch keeps πₜ in its state, which is the same if β₁ and ψ never change.
    return math.prod(momentum_of(k, beta_1, momentum_decay) for k in range(1, t + 1))


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
    momentum_decay: float = 4e-3,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """θ, m and v after step t."""
    beta_1, beta_2 = betas
    g = descent(theta, g, 0 if decoupled_weight_decay else weight_decay, maximize)
    if decoupled_weight_decay:
        theta = theta * (1 - lr * weight_decay)  # (1)
    mu, mu_next = (momentum_of(k, beta_1, momentum_decay) for k in (t, t + 1))
    product = momentum_product(t, beta_1, momentum_decay)
    # Differs: m decays by β₁, as in torch; in Dozat by μₜ, whose mean (6) corrects exactly.
    m = m + (1 - beta_1) * (g - m)  # (3)
    v = beta_2 * v + (1 - beta_2) * (g * g)  # (4)
    d = np.sqrt(v / (1 - beta_2**t)) + eps  # (5)
    of_g, of_m = lr * (1 - mu) / (1 - product), lr * mu_next / (1 - product * mu_next)
    return theta - of_g * g / d - of_m * m / d, m, v  # (6)


def nadam_start(params: Params) -> NAdamState:
    """The state before the first step. Raises TypeError for what is not a dict of arrays."""
    return NAdamState(0, zeros_of(params), zeros_of(params))


def nadam(
    params: Params,
    grads: Params,
    state: NAdamState,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum_decay: float = 4e-3,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
) -> tuple[Params, NAdamState]:
    """Parameters and state after one step. Raises errors as `adam`."""
    betas = check_betas(betas)
    numbers = check_rates(lr=lr, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay)
    check_step(params, grads, state, NAdamState, "nadam_start")
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
