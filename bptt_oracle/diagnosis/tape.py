"""Reverse-mode differentiation of a few operations on NumPy arrays.

    y = f(x_1, …, x_k)        δx_j += vjp_j(δy)        backward, in reverse order of the operations

An operation may be given a derivative that is not its own: the results are then those of a net
whose backward pass has that mistake. `round` is applied to the result of every operation that
rounds, forward and backward; it shows what rounding does to the mistaken net. Nothing here depends
on `reference` except the elementwise functions, which exist for every dtype.

Page: docs/diagnosis/diagnosis.md
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from reference.arithmetic import Arithmetic

Round = Callable[[np.ndarray], np.ndarray]
Pull = Callable[[np.ndarray], np.ndarray]  # from the gradient of a result to that of an operand


class Var:
    """An array on a tape, and its gradient after `Tape.backward`."""

    __slots__ = ("grad", "tape", "value")

    def __init__(self, tape: Tape, value: np.ndarray) -> None:
        self.tape, self.value = tape, value
        self.grad: np.ndarray | None = None

    def __add__(self, other: Var | float) -> Var:
        if not isinstance(other, Var):
            return self.tape.record(self.value + other, (self, _same))
        pulls = (self, _sum_to(self)), (other, _sum_to(other))
        return self.tape.record(self.value + other.value, *pulls)

    def __mul__(self, other: Var | float) -> Var:
        if not isinstance(other, Var):
            return self.tape.record(self.value * other, (self, lambda g: g * other))
        a, b = self.value, other.value
        to_a, to_b = _sum_to(self), _sum_to(other)
        return self.tape.record(
            a * b, (self, lambda g: to_a(g * b)), (other, lambda g: to_b(g * a))
        )

    def __neg__(self) -> Var:
        return self.tape.record(-self.value, (self, np.negative), rounds=False)

    def __radd__(self, other: float) -> Var:
        return self + other

    def __rmul__(self, other: float) -> Var:
        return self * other

    def __sub__(self, other: Var | float) -> Var:
        return self + -other

    def __rsub__(self, other: float) -> Var:
        return -self + other

    def __matmul__(self, other: Var) -> Var:
        """[n, k] @ [k, m] → [n, m]."""
        a, b = self.value, other.value
        return self.tape.record(a @ b, (self, lambda g: g @ b.T), (other, lambda g: a.T @ g))

    @property
    def T(self) -> Var:
        """The transpose of a matrix."""
        return self.tape.record(self.value.T, (self, np.transpose), rounds=False)

    def reshape(self, *shape: int) -> Var:
        """The same numbers in another shape."""
        before = self.value.shape
        value = self.value.reshape(*shape)
        return self.tape.record(value, (self, lambda g: g.reshape(before)), rounds=False)

    def __getitem__(self, index: Any) -> Var:
        """A part, or a rearrangement by an array of indices, none of which may occur twice."""

        def pull(g: np.ndarray) -> np.ndarray:
            whole = np.zeros_like(self.value)
            whole[index] = g
            return whole

        return self.tape.record(self.value[index], (self, pull), rounds=False)


def _same(g: np.ndarray) -> np.ndarray:
    return g


def _sum_to(operand: Var) -> Pull:
    """Sums a gradient over the leading axes along which an operand was repeated."""
    shape = operand.value.shape
    return lambda g: g.sum(axis=tuple(range(g.ndim - len(shape)))) if g.ndim > len(shape) else g


class Tape:
    """The operations of one evaluation, in their order."""

    def __init__(self, arithmetic: Arithmetic, round: Round | None = None) -> None:
        self.arithmetic, self.round = arithmetic, round or _same
        self._records: list[tuple[Var, bool, tuple[tuple[Var, Pull], ...]]] = []

    def record(self, value: np.ndarray, *operands: tuple[Var, Pull], rounds: bool = True) -> Var:
        """The result of an operation on `operands`, each with the pull of its gradient."""
        result = Var(self, self.round(value) if rounds else value)
        self._records.append((result, rounds, operands))
        return result

    def constant(self, value: np.ndarray) -> Var:
        """An array whose gradient leads nowhere."""
        return Var(self, value)

    def elementwise(self, a: Var, value: np.ndarray, slope: Pull) -> Var:
        """An elementwise function of `a`; slope(values) are its derivatives.

        They are computed from rounded values, because 1 − y² and y (1 − y) lose their digits where
        a gate is saturated.
        """
        rounded = self.round(value)
        slopes = slope(rounded)
        return self.record(rounded, (a, lambda g: g * slopes), rounds=False)

    def sigmoid(self, a: Var) -> Var:
        """σ(a)."""
        return self.elementwise(a, self.arithmetic.sigmoid(a.value), lambda y: y * (1 - y))

    def tanh(self, a: Var) -> Var:
        """tanh a."""
        return self.elementwise(a, self.arithmetic.tanh(a.value), lambda y: 1 - y * y)

    def relu(self, a: Var) -> Var:
        """max(a, 0); its derivative at 0 is 0."""
        return self.elementwise(a, self.arithmetic.relu(a.value), lambda y: (a.value > 0) * 1)

    def where(self, mask: np.ndarray, a: Var, b: Var) -> Var:
        """a where the mask [B, 1] is True, b elsewhere."""
        pulls = (a, lambda g: np.where(mask, g, g * 0)), (b, lambda g: np.where(mask, g * 0, g))
        return self.record(np.where(mask, a.value, b.value), *pulls, rounds=False)

    def join(self, parts: Sequence[Var], axis: int) -> Var:
        """Parts concatenated along an axis."""
        ends = np.cumsum([part.value.shape[axis] for part in parts])

        def pull(k: int) -> Pull:
            start = ends[k] - parts[k].value.shape[axis]
            return lambda g: g[(slice(None),) * axis + (slice(start, ends[k]),)]

        value = np.concatenate([part.value for part in parts], axis)
        return self.record(value, *((p, pull(k)) for k, p in enumerate(parts)), rounds=False)

    def stack(self, parts: Sequence[Var]) -> Var:
        """Parts of one shape along a new first axis."""
        return self.join([part.reshape(1, *part.value.shape) for part in parts], 0)

    def with_gradient(self, a: Var, change: Pull) -> Var:
        """The value of `a`, with the gradient g of this use replaced by change(g)."""
        return self.record(a.value, (a, change), rounds=False)

    def backward(self, cotangents: Sequence[tuple[Var, np.ndarray]]) -> None:
        """Add to the gradient of every operand, from the cotangents of results."""
        for var, d in cotangents:
            var.grad = d if var.grad is None else var.grad + d
        for result, rounds, operands in reversed(self._records):
            if result.grad is None:
                continue
            for operand, pull in operands:
                d = self.round(pull(result.grad)) if rounds else pull(result.grad)
                operand.grad = d if operand.grad is None else self.round(operand.grad + d)
