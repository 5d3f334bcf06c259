"""The derivative of the forward pass of a pair, and whether the complex step is that derivative.

Equation numbers are those of `complex_step`.
"""

import warnings

import numpy as np

from .adjoint_pair import Pair
from .complex_step import Arrays, central_difference, complex_step

CENTRAL = 1e-6  # the accuracy of central differences, relative to the products summed
STEPS = (6e-6, 6e-7)  # h, relative to the largest element of the input; the first ≈ ∛eps
ROUNDING = 16 * float(np.finfo(np.float64).eps)
_FALL_BACK = f"pass method='central', which detects errors of {CENTRAL:g}"


def step_of(pair: Pair, name: str, u: np.ndarray) -> dict[str, np.ndarray]:
    """J u of every output, for a direction u in one input, by (1).

    Raises ValueError where f cannot be evaluated at complex numbers.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            moved = complex_step(pair.f, pair.inputs, _along(pair, name, u))
    except (TypeError, np.exceptions.ComplexWarning) as error:
        cause = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(
            f"Expected f to compute with complex numbers, got {type(error).__name__} ({cause}): "
            f"replace casts to float, such as arrays of np.zeros that f fills, or {_FALL_BACK}."
        ) from error
    if not all(np.isfinite(value).all() for value in moved.values()):
        raise ValueError(
            "Expected finite values of f at complex numbers, got NaN or infinity, perhaps from an "
            f"exponential that overflows: {_FALL_BACK}."
        )
    return moved


def difference_of(
    pair: Pair, name: str, u: np.ndarray, relative_step: float = STEPS[0]
) -> tuple[dict[str, np.ndarray], float]:
    """J u by (2), and what rounding may change in ⟨v̄, J u⟩."""
    h = relative_step * (float(np.abs(pair.inputs[name]).max(initial=0)) or 1.0)
    moved = central_difference(pair.f, pair.inputs, _along(pair, name, u), h)
    return moved, ROUNDING * magnitude(pair.cotangents, pair.outputs) / h


def inner(cotangents: Arrays, values: Arrays) -> float:
    """⟨v̄, v⟩"""
    return sum(float((cotangents[name] * value).sum()) for name, value in values.items())


def magnitude(cotangents: Arrays, values: Arrays) -> float:
    """The magnitudes of the products that `inner` sums."""
    return sum(float(np.abs(cotangents[name] * value).sum()) for name, value in values.items())


def require_analytic(pair: Pair, rng: np.random.Generator) -> None:
    """Raise ValueError if the complex step is not the derivative of f.

    Each input is tried with two directions of random signs.
    """
    for name, value in pair.inputs.items():
        for _ in range(2):
            u = rng.choice([-1.0, 1.0], value.shape)
            confirm(pair, name, u, step_of(pair, name, u))


def confirm(pair: Pair, name: str, u: np.ndarray, moved: Arrays) -> None:
    """Raise ValueError if ⟨v̄, J u⟩ is not that with J u = `moved` by (1), but another value by (2).

    It is another value if (2) changes little from one step to the next, beside its size and beside
    the difference. Where it changes more, as of an f that amplifies rounding, it decides nothing.
    """
    exact, values, magnitudes = inner(pair.cotangents, moved), [], []
    for relative_step in STEPS:
        differences, rounding = difference_of(pair, name, u, relative_step)
        values.append(inner(pair.cotangents, differences))
        magnitudes.append(magnitude(pair.cotangents, differences))
        scale = magnitude(pair.cotangents, moved) + magnitudes[-1]
        if abs(values[-1] - exact) <= 10 * CENTRAL * scale + rounding:
            return
    change = abs(values[0] - values[1])
    if change <= min(0.01 * min(magnitudes), 0.1 * abs(values[1] - exact)) + rounding:
        raise ValueError(
            f"Expected f to be analytic, but its complex step in {name} is not its derivative: "
            f"replace abs, .real, conj, norms and casts to float, move away from ties of max, or "
            f"{_FALL_BACK}."
        )


def _along(pair: Pair, name: str, u: np.ndarray) -> dict[str, np.ndarray]:
    """The direction u in one input, zero in the others."""
    return {n: u if n == name else np.zeros_like(v) for n, v in pair.inputs.items()}
