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
float64 would widen float32. Rates are checked at every step, because a schedule may change them.

Source: Pascanu et al. 2013 (1, 2); Polyak 1964, Sutskever et al. 2013 (3, 4); Kingma & Ba 2015
(5, 6); Loshchilov & Hutter 2017 (8).
Differs: constants and order of operations are those of torch.optim in (2), (4) and (6).
Page: docs/models/optim.md
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from ..arrays import check_array
from .parameters import Params


class AdamState(NamedTuple):
    """The number of steps taken and the two running means of (5)."""

    t: int
    m: Params
    v: Params


def global_norm(grads: Params) -> np.ndarray:
    """‖g‖, a scalar. Raises TypeError for gradients that are not a dict of arrays."""
    _check_arrays("grads", grads)
    norm: np.ndarray = np.sqrt(sum((g * g).sum() for g in grads.values()))  # (1)
    return norm


def clip_by_global_norm(grads: Params, max_norm: float) -> tuple[Params, np.ndarray]:
    """The clipped gradients and the norm before clipping.

    A max_norm of 0 makes every gradient 0, as in torch, and ∞ clips nothing. Raises ValueError for
    a max_norm below 0, which would reverse the gradients, or NaN; TypeError for other types.
    """
    max_norm = _to_float("max_norm", max_norm)
    # Differs: torch reverses the gradients for a max_norm below 0, and makes them NaN for NaN.
    if not max_norm >= 0:
        raise ValueError(
            f"Expected max_norm to be at least 0, got {max_norm}: pass inf to clip nothing."
        )
    norm = global_norm(grads)
    # Differs: 10⁻⁶ is added, as in torch; Pascanu et al. divide by the norm itself.
    scale = max_norm / (norm + 1e-6)
    scale = np.where(scale.real > 1, 1, scale)  # not np.minimum: NaN stays NaN
    return {name: g * scale for name, g in grads.items()}, norm  # (2)


def sgd(
    params: Params, grads: Params, velocity: Params | None, lr: float, momentum: float = 0.0
) -> tuple[Params, Params]:
    """Parameters and velocity after one step; `velocity` is None at the first.

    Raises ValueError for a rate or momentum below 0, infinite or NaN; RuntimeError for gradients or
    a velocity with other names or shapes than the parameters; TypeError for other types.
    """
    lr, momentum = _check_rate("lr", lr), _check_rate("momentum", momentum)
    _check_arrays("params", params)
    _check_same("grads", grads, params)
    if velocity is not None:
        _check_same("velocity", velocity, params)
    if velocity is None:
        v = {n: g.copy() for n, g in grads.items()}  # (3); a copy: the caller may clear g
    else:
        v = {n: momentum * velocity[n] + g for n, g in grads.items()}  # (3)
    # Differs: η multiplies v here, as in torch; Sutskever et al. multiply g by it in (3), so that a
    # change of the rate does not act on earlier gradients.
    return {n: p - lr * v[n] for n, p in params.items()}, v  # (4)


def adam_start(params: Params) -> AdamState:
    """The state before the first step: t = 0, zeros for m and v.

    Raises TypeError for parameters that are not a dict of arrays.
    """
    _check_arrays("params", params)
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
    """Parameters and state after one step.

    Raises ValueError for a rate or eps below 0, infinite or NaN, for betas that are not two numbers
    in [0, 1), and for a state of less than 0 steps; RuntimeError for gradients or a state with
    other names or shapes than the parameters; TypeError for other types.
    """
    beta_1, beta_2 = _check_betas(betas)
    lr, eps = _check_rate("lr", lr), _check_rate("eps", eps)
    _check_arrays("params", params)
    _check_same("grads", grads, params)
    _check_state(state, params)
    t = state.t + 1
    m = {n: state.m[n] + (1 - beta_1) * (g - state.m[n]) for n, g in grads.items()}  # (5)
    v = {n: beta_2 * state.v[n] + (1 - beta_2) * (g * g) for n, g in grads.items()}
    # Differs: the corrections 1 − βᵗ multiply η and √v, as in torch; Kingma & Ba divide m and v.
    # Both are equal except for rounding.
    rate, root = lr / (1 - beta_1**t), math.sqrt(1 - beta_2**t)
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


def _to_float(name: str, value: object) -> float:
    """The number as a Python float; raises TypeError for a value that is not one number."""
    try:
        if isinstance(value, (str, bytes, np.complexfloating)):
            raise TypeError
        return float(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"Expected {name} to be a number, got {type(value).__name__}.") from None


def _check_rate(name: str, value: object, limit: float = math.inf) -> float:
    """The number as a Python float; raises ValueError unless 0 ≤ number < limit."""
    number = _to_float(name, value)
    # Differs: torch accepts ∞, and in SGD NaN.
    if not 0 <= number < limit:
        bounds = "finite" if limit == math.inf else f"below {limit}"
        raise ValueError(f"Expected {name} to be at least 0 and {bounds}, got {value}.")
    return number


def _check_betas(betas: object) -> tuple[float, float]:
    """Both as Python floats; raises ValueError unless they are two numbers, 0 ≤ β < 1."""
    if not isinstance(betas, Iterable):
        raise TypeError(f"Expected betas to be two numbers, got {type(betas).__name__}.")
    pair = tuple(betas)
    if len(pair) != 2:
        raise ValueError(f"Expected betas to be two numbers, got {len(pair)}.")
    return _check_rate("betas[0]", pair[0], 1), _check_rate("betas[1]", pair[1], 1)


def _check_arrays(label: str, arrays: Params) -> None:
    """Raise TypeError unless this is a dict of arrays; NumPy's scalars are arrays without axes."""
    if not isinstance(arrays, Mapping):
        raise TypeError(f"{label} should be a dict of arrays, got {type(arrays).__name__}.")
    for name, value in arrays.items():
        if not isinstance(value, np.generic):
            check_array(f"{label}[{name!r}]", value, TypeError)


def _check_same(label: str, arrays: Params, params: Params) -> None:
    """Raise RuntimeError unless the arrays have the names and shapes of the parameters."""
    _check_arrays(label, arrays)
    if arrays.keys() != params.keys():
        raise RuntimeError(
            f"{label} should have the names of the parameters: missing "
            f"{[n for n in params if n not in arrays]}, unexpected "
            f"{[n for n in arrays if n not in params]}."
        )
    for name, p in params.items():
        if arrays[name].shape != p.shape:
            raise RuntimeError(
                f"Expected {label}[{name!r}] of size {p.shape}, as of the parameter, got "
                f"{arrays[name].shape}."
            )


def _check_state(state: AdamState, params: Params) -> None:
    """Raise an error unless this is a state of Adam for these parameters."""
    if not isinstance(state, AdamState):
        raise TypeError(
            f"state should be an AdamState, got {type(state).__name__}: begin with adam_start."
        )
    if state.t < 0:
        raise ValueError(f"Expected state.t to be at least 0, got {state.t}.")
    _check_same("state.m", state.m, params)
    _check_same("state.v", state.v, params)
