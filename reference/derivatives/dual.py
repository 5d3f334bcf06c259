"""A value with its derivative along one direction, and the linear map on such pairs.

    v̇  the derivative of v while every input moves:  d/dε v(input + ε · its direction) at ε = 0
    δv̇  the derivative of δv = ∂L/∂v in the same sense, so second derivatives of L

Forward
    (1)  y = x Wᵀ + b          (1˙)  ẏ = ẋ Wᵀ + x Ẇᵀ + ḃ

Adjoint
    (1′) δx = δy W             (1′˙) δẋ = δẏ W + δy Ẇ
         δW = δyᵀ x                  δẆ = δẏᵀ x + δyᵀ ẋ
         δb = Σ δy                   δḃ = Σ δẏ

Source: Pearlmutter 1994, where v̇ is R{v}.
Page: docs/derivatives/tangent.md
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Dual(NamedTuple):
    """v and v̇: two arrays of one shape, or two tuples or dicts of such."""

    value: Any
    dot: Any


def both(f: Callable[..., Any], *arguments: Any) -> Dual:
    """f of the values and f of the derivatives: right wherever f is linear in the pairs.

    An argument that is no pair goes to both.
    """
    pairs = [a if isinstance(a, Dual) else Dual(a, a) for a in arguments]
    return Dual(f(*[a.value for a in pairs]), f(*[a.dot for a in pairs]))


def refuse_plain(**arguments: Any) -> None:
    """TypeError for what is no pair, or is one with a half missing: `both` would take a plain
    value for its own derivative."""
    for name, given in arguments.items():
        pair = isinstance(given, Dual)
        if not pair or given.value is None or given.dot is None:
            raise TypeError(
                f"{name} should be a Dual, a value and its derivative, got "
                f"{'one without a half' if pair else type(given).__name__}: where it stays fixed, "
                f"its derivative is zeros."
            )


def linear(x: Dual, W: Dual, b: Dual | None = None) -> Dual:
    """y [n, O] and ẏ from x [n, I], W [O, I] and perhaps b [O]."""
    value = x.value @ W.value.T
    dot = x.dot @ W.value.T + x.value @ W.dot.T
    return Dual(value, dot) if b is None else Dual(value + b.value, dot + b.dot)  # (1) (1˙)


def linear_back(x: Dual, W: Dual, b: Dual | None, delta: Dual) -> tuple[Dual, Dual, Dual | None]:
    """δx, δW, δb and their derivatives; no δb where there is no b."""
    d_x = Dual(delta.value @ W.value, delta.dot @ W.value + delta.value @ W.dot)
    d_W = Dual(delta.value.T @ x.value, delta.dot.T @ x.value + delta.value.T @ x.dot)
    d_b = Dual(delta.value.sum(axis=0), delta.dot.sum(axis=0))  # (1′) (1′˙)
    return d_x, d_W, None if b is None else d_b


def part(pair: Dual, name: str) -> Any:
    """A field of both halves as a pair of its own; None where the field is absent."""
    if getattr(pair.value, name) is None:
        return None
    return both(getattr, pair, name)


def pack(kind: Any, *fields: Dual | None) -> Dual:
    """The pair of tuples `kind` whose fields are these pairs."""
    return Dual(
        kind(*[None if f is None else f.value for f in fields]),
        kind(*[None if f is None else f.dot for f in fields]),
    )


def columns(pair: Dual, count: int) -> list[Dual]:
    """A pair of arrays [n, count·H] as `count` pairs [n, H]."""
    values, dots = [np.split(half, count, axis=1) for half in pair]
    return [Dual(*halves) for halves in zip(values, dots, strict=True)]
