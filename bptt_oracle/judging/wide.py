"""The wide types in which truth is computed, and differences that keep all of their digits.

float32, float16 and bfloat16 results are judged by truth in float64, float64 results by truth in
longdouble. Where longdouble is double under another name (Windows, Apple silicon), truth for
float64 is computed by mpmath with 128 bits, in arrays of its numbers (dtype object): slowly, so
that only cases of limited size are judged there.
"""

from typing import Any

import mpmath
import numpy as np

from reference.arithmetic import Activation, Arithmetic, sum_at_once

MULTIPRECISION_BITS = 128
LARGEST_MULTIPRECISION = 30_000  # products of weights in a forward pass: some 2 s
_CONTEXT: Any = mpmath.MPContext()
_CONTEXT.prec = MULTIPRECISION_BITS
_to_multiprecision = np.frompyfunc(_CONTEXT.mpf, 1, 1)


def longdouble_is_wider() -> bool:
    """Whether longdouble has more digits than double."""
    return bool(np.finfo(np.longdouble).eps < np.finfo(np.float64).eps)


def wide_dtype(dtype: str) -> np.dtype:
    """The dtype in which truth for a tested dtype is computed; object stands for mpmath."""
    if dtype != "float64":
        return np.dtype(np.float64)
    return np.dtype(np.longdouble if longdouble_is_wider() else object)


def describe_longdouble() -> str:
    """The precision of longdouble, and what replaces it where that is too low."""
    bits = f"{np.finfo(np.longdouble).nmant + 1}-bit significand"
    if longdouble_is_wider():
        return bits
    return f"{bits}, as double: truth for float64 by mpmath, in small cases"


def widen(value: Any, dtype: np.dtype) -> np.ndarray:
    """An array or number in a wide dtype, exactly."""
    array: np.ndarray = np.asarray(value)
    if dtype.kind != "O":
        return array.astype(dtype)
    return np.asarray(_to_multiprecision(array.astype(object)), dtype=object)


def wide_arithmetic(dtype: np.dtype, numpy: Arithmetic) -> Arithmetic:
    """The arithmetic for a wide dtype: `numpy`, or mpmath's functions for dtype object."""
    if dtype.kind != "O":
        return numpy
    return Arithmetic(
        sigmoid=_elementwise(lambda a: 1 / (1 + _CONTEXT.exp(-a))),
        tanh=_elementwise(_CONTEXT.tanh),
        relu=_elementwise(lambda a: a if a > 0 or a != a else a * 0),
        sum_gradients=sum_at_once,
    )


def _elementwise(function: Any) -> Activation:
    ufunc = np.frompyfunc(function, 1, 1)

    def activation(a: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        result: np.ndarray = ufunc(a) if out is None else ufunc(a, out)
        return result

    return activation


def narrow(value: np.ndarray) -> np.ndarray:
    """The value as NumPy computes with it: longdouble or float64, rounded if it is mpmath's."""
    return value.astype(np.float64) if value.dtype == object else value


def difference(value: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """value − truth in float64, subtracted in the type of truth before it is rounded."""
    if truth.dtype.kind == "O":
        value = widen(value, truth.dtype)
    return np.asarray(value - truth, dtype=np.float64)


def absolute_difference(value: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """|value − truth| in float64."""
    absolute: np.ndarray = np.abs(difference(value, truth))
    return absolute
