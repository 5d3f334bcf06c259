"""The nonlinearities: accurate over the whole range, in any floating dtype, complex included.

    σ(a) = 1 / (1 + e^(−a))                          softmax(o)_j = e^(o_j) / Σ_k e^(o_k)
    tanh(a)                                          log softmax(o)_j = o_j − log Σ_k e^(o_k)
    relu(a) = max(a, 0)

Their derivatives are written through their own values, so a tape holds only the value:

    σ′ = σ ⊙ (1 − σ)      tanh′ = 1 − tanh²      relu′ = [relu ≠ 0], 0 at the kink as in torch
    softmax:      δo = p ⊙ (δp − Σ δp ⊙ p)
    log softmax:  δo = δℓ − e^ℓ Σ δℓ

relu(NaN) = NaN is not 0, so its slope is 1, as in torch.

No exponential overflows: σ's exponent is capped just below log(max), and the logits of a softmax
are shifted by the largest. Comparisons read only the real part, so every function is analytic
where it is smooth: Im f(x + iεu)/ε is its exact derivative along u (the complex step).

Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., ch. 27, for overflow;
Blanchard, Higham & Higham 2021 for softmax and log softmax.
Page: docs/cells/rnn.md
"""

from functools import cache

import numpy as np


def sigmoid(a: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """σ(a), any shape; the result is written to `out` if given, which may be `a`.

    The relative error is small down to σ = `tiny`; below it the result is just under `tiny`. The
    form (1 + tanh(a/2))/2 would be exactly 0 below a = −38.
    """
    e = np.empty_like(a) if out is None else out
    one, minus_one, largest = _constants(e.dtype)
    np.multiply(a, minus_one, out=e)  # np.negative of NumPy 2.4 misreads strides of 64 bytes
    np.minimum(e, largest, out=e)
    np.exp(e, out=e)
    np.add(e, one, out=e)
    np.reciprocal(e, out=e)
    return e


def tanh(a: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """tanh(a), any shape; the result is written to `out` if given, which may be `a`."""
    h: np.ndarray = np.tanh(a, out=out)
    return h


def relu(a: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """max(a, 0), any shape; NaN stays NaN; the result is written to `out` if given."""
    h: np.ndarray = np.positive(a, out=np.empty_like(a) if out is None else out)
    np.copyto(h, 0, where=h.real <= 0)  # set, not multiplied: −inf · 0 would be NaN
    return h


def sigmoid_slope(value: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """σ′ from the value of σ; the result is written to `out` if given, which is not `value`."""
    slope: np.ndarray = np.subtract(1, value, out=out)
    np.multiply(slope, value, out=slope)
    return slope


def tanh_slope(value: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """tanh′ from the value of tanh; the result is written to `out` if given, also to `value`."""
    slope: np.ndarray = np.multiply(value, value, out=out)
    np.subtract(1, slope, out=slope)
    return slope


def relu_slope(value: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """relu′ from the value of relu; the result is written to `out` if given, also to `value`."""
    slope = np.empty_like(value) if out is None else out
    np.not_equal(value.real, 0, out=slope)
    return slope


def softmax(o: np.ndarray) -> np.ndarray:
    """softmax over the last axis; a logit of −inf has probability exactly 0."""
    e = np.exp(o - _largest(o))
    p: np.ndarray = e / e.sum(axis=-1, keepdims=True)
    return p


def softmax_back(p: np.ndarray, d_p: np.ndarray) -> np.ndarray:
    """δo from p = softmax(o) and δp, over the last axis."""
    d_o: np.ndarray = p * (d_p - (d_p * p).sum(axis=-1, keepdims=True))
    return d_o


def log_softmax(o: np.ndarray) -> np.ndarray:
    """log softmax over the last axis, finite for logits 10⁴ apart."""
    shifted = o - _largest(o)
    log_p: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_p


def log_softmax_back(log_p: np.ndarray, d_log_p: np.ndarray) -> np.ndarray:
    """δo from ℓ = log softmax(o) and δℓ, over the last axis."""
    d_o: np.ndarray = d_log_p - np.exp(log_p) * d_log_p.sum(axis=-1, keepdims=True)
    return d_o


def _largest(o: np.ndarray) -> np.ndarray:
    """The largest real part over the last axis; shifted by it, no exponential exceeds 1."""
    largest: np.ndarray = o.real.max(axis=-1, keepdims=True)
    return largest


@cache
def _constants(dtype: np.dtype) -> tuple[np.ndarray, ...]:
    """1, −1 and log(max) − 1, whose exponential is finite and has an inverse of at most `tiny`.

    They are arrays [] because NumPy would convert numbers at every call.
    """
    return tuple(np.array(n, dtype) for n in (1, -1, np.log(np.finfo(dtype).max) - 1))
