"""Products of longdouble matrices by products of float64 matrices, for the truth of large cases.

NumPy multiplies longdouble matrices one number after the other, some 200 times as slowly as a BLAS
multiplies float64 matrices. Here each matrix is cut into slices of few bits,

    A = 2^e (A_0 + A_1 + …)     A_s holds the bits s·β … (s+1)·β of each row; e is one for each row
    B = (B_0 + B_1 + …) 2^f     the same for each column
    A B = 2^e (Σ_{s + t < n} A_s B_t) 2^f

with 2β + log₂ k ≤ 53 for sums of k terms, so that no product of slices rounds. What is left out and
what the sum in longdouble rounds is below 2^-63 of |row| |column| k, as in NumPy's own loop, which
rounds in every term. A block of rows and of terms is worked on at a time, so that the slices take
little memory.

`Sliced` is an array whose large products are computed so, and which is an array otherwise: the
reference multiplies with @, and knows nothing of it.

Source: Ozaki, Ogita, Oishi & Rump 2012, error-free transformations of matrix multiplication.
Page: docs/cases/large_cases.md
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from reference.arithmetic import Arithmetic
from reference.cells.fields import make

from .large import slices_of

BITS = 72  # of a row or column that take part; longdouble has 64
LEAST = 2**22  # products of numbers, from which slices are faster
BLOCK = 2048  # rows, and terms of a sum, at a time


class Sliced(np.ndarray):
    """An array of longdouble whose large products are products of slices."""

    kept: dict[Any, Any] | None  # slices of parts of a constant, and under "owner" the constant

    def __array_finalize__(self, obj: Any) -> None:
        self.kept = getattr(obj, "kept", None)

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any
    ) -> Any:
        """The result of the function on plain arrays, which is one."""
        if ufunc is np.matmul and method == "__call__" and not options:
            result = _product(*inputs)
            if result is not None and out is not None:
                out[0][...] = result
                return out[0]
            if result is not None:
                return result
        if out is not None:
            options["out"] = tuple(map(_plain, out))
        return getattr(ufunc, method)(*map(_plain, inputs), **options)


def sliced(array: np.ndarray) -> np.ndarray:
    """A constant whose large products are products of slices; the slices of its parts are kept
    where they are larger than the other factor, as weights are in every step."""
    array.flags.writeable = False
    view = array.view(Sliced)
    view.kept = {"owner": array}
    return view


def sum_sliced(exact: Arithmetic) -> Arithmetic:
    """The arithmetic with gradients of parameters as products of slices."""

    def sum_gradients(
        gradients: Callable[..., tuple[np.ndarray, Any]],
        params: Any,
        rows: tuple[Any, ...],
        steps: Sequence[slice],
    ) -> tuple[np.ndarray, Any]:
        x, *fields = rows
        viewed = [
            make(field, [None if f is None else f.view(Sliced) for f in field]) for field in fields
        ]
        return exact.sum_gradients(gradients, params, (x.view(Sliced), *viewed), steps)

    return exact._replace(sum_gradients=sum_gradients)


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b of finite longdouble arrays [..., m, k] and [..., k, n]."""
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    result = np.zeros(shape, np.longdouble)
    for terms in slices_of(a.shape[-1], BLOCK):
        right, right_exponent = _slices_of_constant(b[..., terms, :], a.size)
        for rows in slices_of(a.shape[-2], BLOCK):
            left, left_exponent = cut(a[..., rows, terms], -1)
            total = np.zeros((*shape[:-2], left[0].shape[-2], shape[-1]), np.longdouble)
            for degree in reversed(range(len(left))):  # the smallest first
                for s in range(degree + 1):
                    total += left[s] @ right[degree - s]
            result[..., rows, :] += np.ldexp(total, left_exponent + right_exponent)
    return result


def cut(array: np.ndarray, axis: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The slices of each row (axis −1) or column (axis −2), in float64, and their exponents: the
    sum of the slices times 2^exponent is the array, to 2^-BITS of the largest number."""
    bits = (53 - math.ceil(math.log2(max(array.shape[axis], 2)))) // 2
    largest = np.abs(array).max(axis=axis, keepdims=True, initial=0)
    exponent = np.frexp(largest)[1]
    rest = np.ldexp(array, -exponent)
    slices = []
    for number in range(1, -(-BITS // bits) + 1):
        # Added and subtracted, it rounds to a multiple of 2^-(bits · number); longdouble has 64.
        shift = np.ldexp(np.longdouble(0.75), np.finfo(np.longdouble).nmant + 1 - bits * number)
        top = (rest + shift) - shift
        rest = rest - top
        slices.append(top.astype(np.float64))
    return slices, exponent


def _product(a: Any, b: Any) -> np.ndarray | None:
    """a @ b; None if it is left to NumPy."""
    if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and min(a.ndim, b.ndim) > 1):
        return None
    if a.dtype != np.longdouble or b.dtype != np.longdouble or a.shape[-1] != b.shape[-2]:
        return None
    if max(a.size * b.shape[-1], b.size * a.shape[-2]) < LEAST:
        return None
    if not (np.isfinite(_plain(a)).all() and np.isfinite(_plain(b)).all()):
        return None
    return multiply(_plain(a), b)


def _slices_of_constant(b: np.ndarray, other: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The slices of b, kept if it is a part of a constant and larger than the other factor."""
    kept = getattr(b, "kept", None)
    plain = _plain(b)
    if kept is None or b.size < other or not np.may_share_memory(plain, kept["owner"]):
        return cut(plain, -2)
    key = plain.__array_interface__["data"][0], plain.shape, plain.strides
    if key not in kept:
        kept[key] = cut(plain, -2)
    found: tuple[list[np.ndarray], np.ndarray] = kept[key]
    return found


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Sliced) else value
