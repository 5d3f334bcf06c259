"""Optimisers: clipping by the global norm, SGD with momentum, Adam, warm-up and cosine decay.

    θ  parameters, g  their gradients: dicts of arrays with the same names
    η  learning rate      t = 1, 2, …  number of the step        operations on arrays elementwise

Clipping     (1)  ‖g‖ = √Σ g²              one norm over all arrays
             (2)  g ← g · min(1, c / (‖g‖ + 10⁻⁶))
                  ‖g‖ = 0 changes nothing; ‖g‖ = ∞ gives 0, and NaN where g was infinite;
                  ‖g‖ = NaN makes every gradient NaN
SGD          (3)  v ← μ v + g              v = g at the first step
             (4)  θ ← θ − η v
Adam         (5)  m ← m + (1 − β₁)(g − m)        v ← β₂ v + (1 − β₂) g²        both 0 at first
             (6)  θ ← θ − η / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
Schedule     (7)  η = η₁ (s + (1 − s) t/W)                               t = 0 … W−1, from s η₁
             (8)  η = η₀ + (η₁ − η₀)(1 + cos(π (t − W)/T)) / 2           t = W … W+T, from η₁ to η₀

Rates and factors are converted to Python floats, whose products keep an array's dtype; a NumPy
float64 would widen float32.

Source: Pascanu et al. 2013 (1, 2); Polyak 1964, Sutskever et al. 2013 (3, 4); Kingma & Ba 2015
(5, 6); Loshchilov & Hutter 2017 (8).
Differs: constants and order of operations are those of torch.optim in (2), (4) and (6).
Page: docs/models/optim.md
"""

import math
from typing import NamedTuple

import numpy as np

from .parameters import Params


class AdamState(NamedTuple):
    """The number of steps taken and the two running means of (5)."""

    t: int
    m: Params
    v: Params


def global_norm(grads: Params) -> np.ndarray:
    """‖g‖, a scalar."""
    norm: np.ndarray = np.sqrt(sum((g * g).sum() for g in grads.values()))  # (1)
    return norm


def clip_by_global_norm(grads: Params, max_norm: float) -> tuple[Params, np.ndarray]:
    """The clipped gradients and the norm before clipping."""
    norm = global_norm(grads)
    # Differs: 10⁻⁶ is added, as in torch; Pascanu et al. divide by the norm itself.
    scale = float(max_norm) / (norm + 1e-6)
    scale = np.where(scale.real > 1, 1, scale)  # not np.minimum: NaN stays NaN
    return {name: g * scale for name, g in grads.items()}, norm  # (2)


def sgd(
    params: Params, grads: Params, velocity: Params | None, lr: float, momentum: float = 0.0
) -> tuple[Params, Params]:
    """Parameters and velocity after one step; `velocity` is None at the first."""
    lr, momentum = float(lr), float(momentum)
    if velocity is None:
        v = {n: g.copy() for n, g in grads.items()}  # (3); a copy: the caller may clear g
    else:
        v = {n: momentum * velocity[n] + g for n, g in grads.items()}  # (3)
    # Differs: η multiplies v here, as in torch; Sutskever et al. multiply g by it in (3), so that a
    # change of the rate does not act on earlier gradients.
    return {n: p - lr * v[n] for n, p in params.items()}, v  # (4)


def adam_start(params: Params) -> AdamState:
    """The state before the first step: t = 0, zeros for m and v."""
    m, v = [{name: np.zeros_like(p) for name, p in params.items()} for _ in range(2)]
    return AdamState(0, m, v)


def adam(
    params: Params,
    grads: Params,
    state: AdamState,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> tuple[Params, AdamState]:
    """Parameters and state after one step."""
    t = state.t + 1
    beta_1, beta_2 = map(float, betas)
    m = {n: state.m[n] + (1 - beta_1) * (g - state.m[n]) for n, g in grads.items()}  # (5)
    v = {n: beta_2 * state.v[n] + (1 - beta_2) * (g * g) for n, g in grads.items()}
    # Differs: the corrections 1 − βᵗ multiply η and √v, as in torch; Kingma & Ba divide m and v.
    # Both are equal except for rounding.
    rate, root, eps = float(lr) / (1 - beta_1**t), math.sqrt(1 - beta_2**t), float(eps)
    moved = {n: p - rate * m[n] / (np.sqrt(v[n]) / root + eps) for n, p in params.items()}  # (6)
    return moved, AdamState(t, m, v)


def warmup_cosine(
    t: int, peak: float, floor: float, decay: int, warmup: int = 0, start: float = 0.01
) -> float:
    """The learning rate of step t = 0, 1, …: `warmup` steps up to `peak`, `decay` steps to `floor`.

    After t = warmup + decay the cosine rises again, as in torch.
    """
    if t < warmup:
        return peak * (start + (1 - start) * t / warmup)  # (7)
    return floor + (peak - floor) * (1 + math.cos(math.pi * (t - warmup) / decay)) / 2  # (8)
