"""The nonlinearities: accurate over the whole range, in any floating dtype, complex included.

    σ(a) = 1 / (1 + e^(−a))                          softmax(o)_j = e^(o_j) / Σ_k e^(o_k)
    tanh(a)                                          log softmax(o)_j = o_j − log Σ_k e^(o_k)
    relu(a) = max(a, 0)

Their derivatives are written through their own values, so a tape keeps the value alone:

    σ′ = σ ⊙ (1 − σ)      tanh′ = 1 − tanh²      relu′ = [relu ≠ 0], 0 at the kink as in torch
    softmax:      δo = p ⊙ (δp − Σ δp ⊙ p)
    log softmax:  δo = δℓ − e^ℓ Σ δℓ

A NaN that relu lets through is not 0, so its slope is 1, as in torch.

No exponential overflows: σ's exponent is capped just below log(max), and the logits of a softmax
are shifted by the largest. Choices look at the real part alone, which keeps every function analytic
where it is smooth: Im f(x + iεu)/ε is its exact derivative along u (the complex step).

Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., ch. 27, for overflow;
Blanchard, Higham & Higham 2021 for softmax and log softmax.
Page: docs/cells/rnn.md
"""

from functools import cache

import numpy as np


def sigmoid(a: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """σ(a), any shape; the result goes to `out` when given, which may be `a` itself.

    Accurate relative to σ down to `tiny`, and just below `tiny` beyond it; (1 + tanh(a/2))/2 would
    be exactly 0 below −38.
    """
    e = np.empty_like(a) if out is None else out
    one, minus_one, largest = _constants(e.dtype)
    np.multiply(a, minus_one, out=e)  # NumPy 2.4's negative misreads arrays of stride 64 bytes
    np.minimum(e, largest, out=e)
    np.exp(e, out=e)
    np.add(e, one, out=e)
    return np.reciprocal(e, out=e)


def tanh(a: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """tanh(a), any shape; the result goes to `out` when given, which may be `a` itself."""
    return np.tanh(a, out=out)


def relu(a: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """max(a, 0), any shape; NaN stays NaN; the result goes to `out` when given."""
    h = np.positive(a, out=np.empty_like(a) if out is None else out)
    np.copyto(h, 0, where=h.real <= 0)  # set, not multiplied: −inf · 0 would be NaN
    return h


def sigmoid_slope(value: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """σ′ from the value of σ; the result goes to `out` when given, which may not be `value`."""
    slope = np.subtract(1, value, out=out)
    return np.multiply(slope, value, out=slope)


def tanh_slope(value: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """tanh′ from the value of tanh; the result goes to `out` when given, which may be `value`."""
    slope = np.multiply(value, value, out=out)
    return np.subtract(1, slope, out=slope)


def relu_slope(value: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """relu′ from the value of relu; the result goes to `out` when given, which may be `value`."""
    return np.not_equal(value.real, 0, out=np.empty_like(value) if out is None else out)


def softmax(o: np.ndarray) -> np.ndarray:
    """softmax over the last axis; a logit of −inf has probability exactly 0."""
    e = np.exp(o - _largest(o))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_back(p: np.ndarray, d_p: np.ndarray) -> np.ndarray:
    """δo from p = softmax(o) and δp, over the last axis."""
    return p * (d_p - (d_p * p).sum(axis=-1, keepdims=True))


def log_softmax(o: np.ndarray) -> np.ndarray:
    """log softmax over the last axis, finite for logits 10⁴ apart."""
    shifted = o - _largest(o)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def log_softmax_back(log_p: np.ndarray, d_log_p: np.ndarray) -> np.ndarray:
    """δo from ℓ = log softmax(o) and δℓ, over the last axis."""
    return d_log_p - np.exp(log_p) * d_log_p.sum(axis=-1, keepdims=True)


def _largest(o: np.ndarray) -> np.ndarray:
    """The largest real part over the last axis: the shift that leaves no exponential above 1."""
    return o.real.max(axis=-1, keepdims=True)


@cache
def _constants(dtype: np.dtype) -> tuple[np.ndarray, ...]:
    """1, −1, and just below log(max): e to this is finite, and its inverse no larger than `tiny`.

    Arrays of no dimensions: numbers would become such anew at every call.
    """
    return tuple(np.array(n, dtype) for n in (1, -1, np.log(np.finfo(dtype).max) - 1))
