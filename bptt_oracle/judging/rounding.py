"""Arithmetic with rounding made visible: every result moved by one unit roundoff, up or down.

The truth and the noise of a case come from the same program, the reference, which computes with
the arithmetic it is given. Three things are varied here.

Activations (Monte Carlo arithmetic, Parker 1997): every value of σ, tanh and relu is multiplied by
1 + u or 1 − u at random.

What rounding decides, and does not merely move, is varied by itself. A net input of relu that is
zero but for rounding may have the slope 0 or 1; `hold_relu` is a relu that is told which net inputs
pass. A gate that is nearly 0 may be 0: `shut_gates` is a σ that is 0 below some size.

Sums over time, in the order in which backpropagation through time meets the terms:

    δW = ((δ_{T−1}ᵀ x_{T−1} + δ_{T−2}ᵀ x_{T−2}) + …) + δ_0ᵀ x_0        every sum rounded

The reference adds up a parameter's gradient over the rows of all steps at once; a loop of steps
adds one product after another, the last step's first. Over T steps that rounds more, by about √T,
and by T where the terms shrink on their way back, because a late term is then lost in the sum of
the earlier ones. A batch of many rows is such a sum as well, so the rows of a step are taken a few
at a time. Where the gradients are so large that this would take minutes, a step is taken at once,
and what moves a sum counts for as many rows, √(n/ROWS) as much.

Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., ch. 4, for the sums.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from reference.arithmetic import Activation, Arithmetic
from reference.cells.fields import rows_of

from .wide import widen

ROWS = 8  # of a step, at most, in one product; one at a time would take too long
ROWS_OF_LARGE = 64
LARGE = 10**9  # elements of gradients added in pieces of ROWS: some 10 s
MANY = 10**5  # factors that are drawn at once, from one bit each
NEXT_TO_ZERO = 2.0**-500

Factors = Callable[[tuple[int, ...]], np.ndarray]


def random_factors(rng: np.random.Generator, u: float, dtype: np.dtype) -> Factors:
    """A function from a shape to an array of factors, each 1 + u or 1 − u at random."""
    two, pool, used = widen([1 - u, 1 + u], dtype), np.empty(0, dtype), 0

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        nonlocal pool, used
        size = math.prod(shape)
        if size > MANY and dtype.kind == "f":
            bits = np.unpackbits(np.frombuffer(rng.bytes(-(-size // 8)), np.uint8), count=size)
            factors: np.ndarray = bits * (two[1] - two[0])
            factors += two[0]  # exact: 1 − u, 2 u and 1 + u have few digits
            shaped: np.ndarray = factors.reshape(shape)
            return shaped
        if used + size > pool.size:  # many at once: a draw costs more than its numbers
            pool, used = two[rng.integers(0, 2, max(size, 4096), dtype=np.int8)], 0
        used += size
        return pool[used - size : used].reshape(shape)

    return draw


def move_activations(exact: Arithmetic, factors: Factors) -> Arithmetic:
    """The arithmetic with every value of an activation multiplied by one of `factors`."""

    def moved(activation: Activation) -> Activation:
        def function(a: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
            value = activation(a, out=out)
            np.multiply(value, factors(value.shape), out=value)
            return value

        return function

    return exact._replace(
        sigmoid=moved(exact.sigmoid), tanh=moved(exact.tanh), relu=moved(exact.relu)
    )


def record_net_inputs(exact: Arithmetic, inputs: list[np.ndarray]) -> Arithmetic:
    """The arithmetic with every net input of relu appended to `inputs`."""

    def relu(a: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        inputs.append(a.copy())
        return exact.relu(a, out=out)

    return exact._replace(relu=relu)


def hold_relu(
    exact: Arithmetic, sides: Sequence[np.ndarray], least: Sequence[np.ndarray | float]
) -> Arithmetic:
    """The arithmetic with a relu that lets a net input pass where `sides` is True, whatever its
    sign. What passes becomes at least `least`, which is not 0: the slope is 1 where relu is not 0.

    `sides` and `least` are in the order of the calls, as `record_net_inputs` records net inputs.
    """
    calls = iter(zip(sides, least, strict=True))

    def relu(a: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        passes, lower = next(calls)
        value: np.ndarray = np.maximum(a, lower, out=np.empty_like(a) if out is None else out)
        np.copyto(value, 0, where=~passes)
        return value

    return exact._replace(relu=relu)


def record_smallest_gate(exact: Arithmetic, smallest: list[float]) -> Arithmetic:
    """The arithmetic with the smallest value of every call of σ appended to `smallest`."""

    def sigmoid(a: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        value = exact.sigmoid(a, out=out)
        smallest.append(float(value.min(initial=1)))
        return value

    return exact._replace(sigmoid=sigmoid)


def shut_gates(exact: Arithmetic, below: float) -> Arithmetic:
    """The arithmetic with a σ that is 0 where it would be less than `below`."""

    def sigmoid(a: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        value = exact.sigmoid(a, out=out)
        value[value < below] = 0
        return value

    return exact._replace(sigmoid=sigmoid)


def sum_step_by_step(
    exact: Arithmetic, round_sum: Callable[[np.ndarray], np.ndarray] | None = None
) -> Arithmetic:
    """The arithmetic with gradients summed step after step, the last step first.

    Where the arithmetic does not round by itself, every sum goes through `round_sum`.
    """

    def sum_gradients(
        gradients: Callable[..., tuple[np.ndarray, Any]],
        params: Any,
        rows: tuple[Any, ...],
        steps: Sequence[slice],
    ) -> tuple[np.ndarray, Any]:
        x, *fields = rows
        number = sum(p.size for p in params if p is not None)
        is_large = number * (len(x) / ROWS) > LARGE
        most = ROWS_OF_LARGE if is_large else ROWS
        pieces = [
            slice(start, min(start + most, step.stop))
            for step in steps
            for start in range(step.start, step.stop, most)
        ]
        if not pieces:  # a batch without rows
            return gradients(params, *rows)
        d_x, total = np.empty_like(x), None
        for piece in reversed(pieces):
            of_piece = [rows_of(field, piece) for field in fields]
            d_x[piece], d_params = gradients(params, x[piece], *of_piece)
            total = d_params if total is None else _add_to(total, d_params)
            if round_sum is not None:
                spread = math.sqrt(max(1, (piece.stop - piece.start) / ROWS))
                total = total._make([_round(d, round_sum, spread) for d in total])
        return d_x, total

    return exact._replace(sum_gradients=sum_gradients)


def _add_to(total: Any, terms: Any) -> Any:
    """The sum of two tuples, field by field, in the arrays of the first; None stays None."""
    for value, term in zip(total, terms, strict=True):
        if value is not None and term is not None:
            value += term
    return total


def _round(
    total: np.ndarray | None, round_sum: Callable[[np.ndarray], np.ndarray], spread: float
) -> np.ndarray | None:
    """A rounded sum, moved by `spread` times as much."""
    if total is None or spread == 1:
        return None if total is None else round_sum(total)
    moved = round_sum(total)
    moved -= total
    moved *= spread
    moved += total
    return moved
