"""A value with its derivative along one direction, and the linear map on such pairs.

    v̇  the derivative of v when every input moves:  d/dε v(input + ε · its direction) at ε = 0
    δv̇  the derivative of δv = ∂L/∂v in the same sense, so a second derivative of L

Forward
    (1)  y = x Wᵀ + b          (1˙)  ẏ = ẋ Wᵀ + x Ẇᵀ + ḃ

Adjoint
    (1′) δx = δy W             (1′˙) δẋ = δẏ W + δy Ẇ
         δW = δyᵀ x                  δẆ = δẏᵀ x + δyᵀ ẋ
         δb = Σ δy                   δḃ = Σ δẏ

Source: Pearlmutter 1994, where v̇ is R{v}.
The adjoint is derived on docs/derivatives/second_order.md.
Page: docs/derivatives/tangent.md
"""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Dual(NamedTuple, Generic[T_co]):
    """v and v̇: two arrays of one shape, or two tuples or dicts of such arrays."""

    value: T_co
    dot: T_co


def map_dual(f: Callable[..., T], *arguments: Any) -> Dual[T]:
    """f of the values and f of the derivatives; correct where f is linear in the pairs.

    An argument that is not a Dual is passed to both calls.
    """
    pairs = [a if isinstance(a, Dual) else Dual(a, a) for a in arguments]
    return Dual(f(*[a.value for a in pairs]), f(*[a.dot for a in pairs]))


def check_duals(**arguments: Any) -> None:
    """Raise TypeError for an argument that is not a Dual, or whose value or dot is None.

    `map_dual` would use a plain value as its own derivative.
    """
    for name, argument in arguments.items():
        is_dual = isinstance(argument, Dual)
        if not is_dual or argument.value is None or argument.dot is None:
            raise TypeError(
                f"{name} should be a Dual, a value and its derivative, got "
                f"{'one with None' if is_dual else type(argument).__name__}: for a constant, "
                f"pass zeros as the derivative."
            )


def linear(
    x: Dual[np.ndarray], W: Dual[np.ndarray], b: Dual[np.ndarray] | None = None
) -> Dual[np.ndarray]:
    """y [n, O] and ẏ from x [n, I], W [O, I] and b [O], or None for no bias."""
    value = x.value @ W.value.T
    dot = x.dot @ W.value.T + x.value @ W.dot.T
    return Dual(value, dot) if b is None else Dual(value + b.value, dot + b.dot)  # (1) (1˙)


def linear_back(
    x: Dual[np.ndarray], W: Dual[np.ndarray], b: Dual[np.ndarray] | None, delta: Dual[np.ndarray]
) -> tuple[Dual[np.ndarray], Dual[np.ndarray], Dual[np.ndarray] | None]:
    """δx, δW, δb and their derivatives; δb is None if b is None."""
    d_x = Dual(delta.value @ W.value, delta.dot @ W.value + delta.value @ W.dot)
    d_W = Dual(delta.value.T @ x.value, delta.dot.T @ x.value + delta.value.T @ x.dot)
    d_b = Dual(delta.value.sum(axis=0), delta.dot.sum(axis=0))  # (1′) (1′˙)
    return d_x, d_W, None if b is None else d_b


def pick(pair: Dual[Any], name: str) -> Any:
    """One field of a pair of tuples, as a Dual; None where the field is None."""
    if getattr(pair.value, name) is None:
        return None
    return map_dual(getattr, pair, name)


def make(kind: Callable[..., T], *fields: Dual[np.ndarray] | None) -> Dual[T]:
    """The pair of tuples of type `kind` with these fields, each a Dual or None."""
    return Dual(
        kind(*[None if f is None else f.value for f in fields]),
        kind(*[None if f is None else f.dot for f in fields]),
    )


def split_columns(pair: Dual[np.ndarray], count: int) -> list[Dual[np.ndarray]]:
    """A pair of arrays [n, count·H] as `count` pairs [n, H]."""
    values, dots = [np.split(half, count, axis=1) for half in pair]
    return [Dual(*halves) for halves in zip(values, dots, strict=True)]
