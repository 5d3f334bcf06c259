"""Adam, its variant AMSGrad, and AdamW.

    θ  parameter, g  its gradient after equations (1) and (2) of `steps`, without (2) in AdamW
    η  learning rate      t = 1, 2, …  number of the step      λ  weight decay

    (1)  θ ← θ (1 − η λ)                             AdamW only
    (2)  m ← m + (1 − β₁)(g − m)                     0 at first
    (3)  v ← β₂ v + (1 − β₂) g²                      0 at first
    (4)  v̂ ← max(v̂, v)                               AMSGrad, 0 at first; otherwise v̂ = v
    (5)  θ ← θ − η / (1 − β₁ᵗ) · m / (√v̂ / √(1 − β₂ᵗ) + ε)

Source: Kingma & Ba 2015 (2, 3, 5); Reddi et al. 2018 (4); Loshchilov & Hutter 2019 (1).
Page: docs/models/optim.md
"""

from typing import NamedTuple

import numpy as np

from ..parameters import Params
from .arguments import check_betas, check_rates, check_step
from .steps import descent, step_each, zeros_of


class AdamState(NamedTuple):
    """The number of steps taken, the two running means, and the maximum of (4) for AMSGrad."""

    t: int
    m: Params
    v: Params
    v_max: Params = {}


def update(
    theta: np.ndarray,
    g: np.ndarray,
    t: int,
    m: np.ndarray,
    v: np.ndarray,
    v_max: np.ndarray | None = None,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
    maximize: bool = False,
    decoupled_weight_decay: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """θ, m, v and v̂ after step t; without AMSGrad v̂ stays as it is, None."""
    beta_1, beta_2 = betas
    g = descent(theta, g, 0 if decoupled_weight_decay else weight_decay, maximize)
    if decoupled_weight_decay:
        theta = theta * (1 - lr * weight_decay)  # (1)
    m = m + (1 - beta_1) * (g - m)  # (2)
    v = beta_2 * v + (1 - beta_2) * (g * g)  # (3)
    # Differs: the maximum is taken of v, as in torch and in Reddi et al.; the correction 1 − β₂ᵗ,
    # which Reddi et al. leave out, acts on the maximum.
    largest = v
    if amsgrad and v_max is not None:
        largest = v_max = np.maximum(v_max, v)  # (4)
    # Differs: the corrections 1 − βᵗ multiply η and √v, as in torch; Kingma & Ba divide m and v.
    # Both are equal except for rounding.
    rate, root = lr / (1 - beta_1**t), (1 - beta_2**t) ** 0.5
    return theta - rate * m / (np.sqrt(largest) / root + eps), m, v, v_max  # (5)


def adam_start(params: Params, amsgrad: bool = False) -> AdamState:
    """The state before the first step: t = 0, zeros for m and v, and for AMSGrad v̂.

    Raises TypeError for parameters that are not a dict of arrays.
    """
    return AdamState(0, zeros_of(params), zeros_of(params), zeros_of(params) if amsgrad else {})


def adam(
    params: Params,
    grads: Params,
    state: AdamState,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
    maximize: bool = False,
) -> tuple[Params, AdamState]:
    """Parameters and state after one step; weight decay is a part of the gradient.

    Raises ValueError for a rate, eps or weight decay below 0, infinite or NaN, for betas that are
    not two numbers in [0, 1), and for a state of less than 0 steps; RuntimeError for gradients or a
    state with other names or shapes than the parameters; TypeError for other types.
    """
    return _step(params, grads, state, lr, betas, eps, weight_decay, amsgrad, maximize, False)


def adamw(
    params: Params,
    grads: Params,
    state: AdamState,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    amsgrad: bool = False,
    maximize: bool = False,
) -> tuple[Params, AdamState]:
    """Parameters and state after one step; weight decay shrinks the parameter by itself, (1).

    Raises errors as `adam`.
    """
    # Differs: λ is multiplied by η, as in torch; Loshchilov & Hutter multiply it by a schedule.
    return _step(params, grads, state, lr, betas, eps, weight_decay, amsgrad, maximize, True)


def _step(
    params: Params,
    grads: Params,
    state: AdamState,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    amsgrad: bool,
    maximize: bool,
    decoupled: bool,
) -> tuple[Params, AdamState]:
    betas = check_betas(betas)
    numbers = check_rates(lr=lr, eps=eps, weight_decay=weight_decay)
    check_step(params, grads, state, AdamState, "adam_start", "" if amsgrad else "v_max")
    return step_each(
        update,
        params,
        grads,
        state,
        betas=betas,
        amsgrad=amsgrad,
        maximize=maximize,
        decoupled_weight_decay=decoupled,
        **numbers,
    )
