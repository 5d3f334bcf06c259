"""Arrays and numbers, every operation of which rounds its result.

The steps of `reference.models.optim` compute with the operators of what they are given. Given these
arrays, they are a careful evaluation in a narrow dtype (`to_nearest`), or an evaluation in a wide
one in which every result is moved by one unit roundoff up or down (`moved`; Monte Carlo arithmetic,
Parker 1997).

Numbers, such as 1 − βᵗ, are arrays without axes. A careful implementation computes them in Python,
so they have the roundoff of double; where a number meets an array it is converted to the type in
which the elements are computed, float32 for narrower dtypes. The change of a number by rounding is
the same for all elements.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from torch_impl.execution.precision import UNIT_ROUNDOFF, stored

Round = Callable[[np.ndarray], np.ndarray]
_EXACT = {
    np.negative,
    np.positive,
    np.absolute,
    np.maximum,
    np.minimum,
    np.sign,
}
_LOGICAL = {
    np.less,
    np.less_equal,
    np.greater,
    np.greater_equal,
    np.equal,
    np.not_equal,
}


class Rounding(NamedTuple):
    """How results are rounded."""

    array: Round  # every element of an array
    number: Round  # a number
    cast: Round  # a number that meets an array
    axes: int = 0  # of a number: 1 for several evaluations at once


class DifferentBranches(Exception):
    """A condition holds in some, but not in all, of the evaluations that are made at once."""


class Rounded(np.ndarray):
    """An array whose operations round."""

    rounding: Rounding

    def __array_finalize__(self, source: Any) -> None:
        if isinstance(source, Rounded):
            self.rounding = source.rounding

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        rounding = next(x.rounding for x in inputs if isinstance(x, Rounded))
        plain = [x.view(np.ndarray) if isinstance(x, np.ndarray) else x for x in inputs]
        numbers = [np.ndim(x) <= rounding.axes for x in plain]
        with_number = any(numbers) and not all(numbers)
        if with_number:
            plain = [
                rounding.cast(x) if number and isinstance(x, np.ndarray) else x
                for x, number in zip(plain, numbers, strict=True)
            ]
        result = np.asarray(getattr(ufunc, method)(*plain, **options))
        is_number = result.ndim <= rounding.axes
        if ufunc in _LOGICAL:
            return result.view(Condition) if is_number else result
        if ufunc not in _EXACT or with_number:  # a bound of a clamp is stored as an element
            result = rounding.number(result) if is_number else rounding.array(result)
        return as_rounded(result, rounding)

    def __bool__(self) -> bool:
        return bool(self != 0)  # of an array NumPy raises ValueError


class Condition(np.ndarray):
    """A comparison of numbers; as a bool, what it gives in all evaluations."""

    def __bool__(self) -> bool:
        true = self.view(np.ndarray)
        if true.all() != true.any():
            raise DifferentBranches
        return bool(true.all())


def as_rounded(value: np.ndarray, rounding: Rounding) -> Rounded:
    """The same memory, with operations that round."""
    array = np.asarray(value).view(Rounded)
    array.rounding = rounding
    return array


def to_nearest(dtype: str) -> Rounding:
    """Every result rounded to a dtype other than float64, to nearest; arrays are float64."""
    computed = "float64" if dtype == "float64" else "float32"

    def array(value: np.ndarray) -> np.ndarray:
        return stored(value, dtype).astype(np.float64)

    def cast(value: np.ndarray) -> np.ndarray:
        return stored(value, computed).astype(np.float64)

    return Rounding(array, lambda value: value, cast)


def moved(dtype: str, rng: np.random.Generator, axes: int = 0) -> Rounding:
    """Every result moved by one unit roundoff of a dtype, up or down at random.

    The unit of a result below the smallest normal number is half of the smallest number. Numbers
    have `axes` axes.
    """
    limits = np.finfo("float32" if dtype == "bfloat16" else dtype)
    least = float(limits.smallest_subnormal) / 2

    def move(value: np.ndarray, u: float, smallest: float) -> np.ndarray:
        signs = 2 * rng.integers(0, 2, value.shape) - 1
        size = np.maximum(u * abs(value), smallest * (value != 0))
        result: np.ndarray = value + signs * size
        return result

    def array(value: np.ndarray) -> np.ndarray:
        return move(value, UNIT_ROUNDOFF[dtype], least)

    def number(value: np.ndarray) -> np.ndarray:
        return move(value, UNIT_ROUNDOFF["float64"], 0.0)

    def cast(value: np.ndarray) -> np.ndarray:
        return value if dtype == "float64" else move(value, UNIT_ROUNDOFF["float32"], 0.0)

    return Rounding(array, number, cast, axes)
