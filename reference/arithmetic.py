"""The operations of a net that round, as a value that a net is given.

    sigmoid, tanh, relu     the elementwise functions of a cell, f(a, out=None) → array
    sum_gradients           the sum over rows that makes the gradient of a parameter

A net computes with NUMPY unless it is given another `Arithmetic`. The judge gives one whose
results are moved by one unit roundoff, to measure what rounding does to a result; no function of
this package has to be replaced for that. Products and sums within a step are NumPy's in any case.

Page: docs/nets/modules.md
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from . import activations


class Activation(Protocol):
    """An elementwise function; its result goes to `out` if given, which may be `a` itself."""

    def __call__(self, a: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...


Gradients = Callable[..., tuple[np.ndarray, Any]]  # of a cell: → δx and δθ


def sum_at_once(
    gradients: Gradients, params: Any, rows: tuple[Any, ...], steps: Sequence[slice]
) -> tuple[np.ndarray, Any]:
    """δx [N, I] and the gradient of every parameter, summed over the rows of all steps at once.

    `rows` are the arguments of `gradients` after params: x, before, tape, after and delta of the N
    rows. `steps` are the rows of each step, for an arithmetic that sums step by step.
    """
    return gradients(params, *rows)


class Arithmetic(NamedTuple):
    """How a net evaluates its activations and sums its gradients."""

    sigmoid: Activation
    tanh: Activation
    relu: Activation
    sum_gradients: Callable[
        [Gradients, Any, tuple[Any, ...], Sequence[slice]], tuple[np.ndarray, Any]
    ]


NUMPY = Arithmetic(activations.sigmoid, activations.tanh, activations.relu, sum_at_once)
