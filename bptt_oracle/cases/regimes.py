"""How the numbers of a case are drawn: a distribution for each regime.

draw(rng, kind, shape) → float64     kind: weight, bias, x, state or cotangent
"""

from collections.abc import Callable

import numpy as np

Draw = Callable[[np.random.Generator, str, tuple[int, ...]], np.ndarray]


def _generic(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weights scaled such that net inputs are of order 1, so that every gate is active."""
    scale = 1.2 / np.sqrt(shape[-1]) if kind == "weight" else 0.7
    return scale * rng.standard_normal(shape)


def _saturated(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Saturated gates: net inputs up to about ±40."""
    scale = {"weight": 3.0, "bias": 12.0}.get(kind, 1.0)
    return scale * rng.standard_normal(shape)


def _cancelling(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Sums far smaller than their terms: almost opposite pairs along the last axis."""
    values = _generic(rng, kind, shape)
    pairs = shape[-1] // 2
    if kind in ("weight", "cotangent") and pairs:
        opposite = -values[..., :pairs] * (1 + rng.uniform(-1, 1, (*shape[:-1], pairs)) / 1024)
        values[..., pairs : 2 * pairs] = opposite
        values *= 4
    return values


def _wide(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Magnitudes spread over six decades."""
    return _generic(rng, kind, shape) * 10.0 ** rng.uniform(-5, 1, shape)


def _tiny(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Net inputs near zero, where tanh is almost the identity."""
    scale = {"x": 1e-6, "state": 1e-6, "bias": 1e-6}.get(kind, 1.0)
    return scale * _generic(rng, kind, shape)


def _exact(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Small dyadic numbers: no sum or product in a short relu net rounds."""
    if kind == "weight":
        return np.asarray(rng.choice([-1.0, 0.0, 0.0, 1.0], shape))
    return np.asarray(rng.integers(1, 8, shape) / 4 * rng.choice([-1.0, 1.0], shape))


DISTRIBUTIONS: dict[str, Draw] = {
    "generic": _generic,
    "saturated": _saturated,
    "cancelling": _cancelling,
    "wide": _wide,
    "tiny": _tiny,
    "exact": _exact,
}
