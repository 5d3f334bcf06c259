"""The rounding operations of a net, as an argument of `forward`.

    sigmoid, tanh, relu     the elementwise functions of a cell, f(a, out=None) → array
    sum_gradients           the sum over rows in the gradient of a parameter

A net computes with NUMPY unless `forward` is given another `Arithmetic`. To measure how much
rounding changes a result, the judge passes one whose results are off by one unit roundoff, so it
need not patch this package. Products and sums within a step always use NumPy.

Page: docs/nets/modules.md
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from . import activations


class Activation(Protocol):
    """An elementwise function; its result is written to `out` if given, which may be `a`."""

    def __call__(self, a: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...


P = TypeVar("P")  # the Params of a cell


class SumGradients(Protocol):
    """δx [N, I] and the gradient of every parameter, summed over the N rows of all steps.

    `gradients` is the cell's function (1′). `rows` holds its arguments after params: x, before,
    tape, after and delta of the N rows. `steps` holds the rows of each step, for an arithmetic that
    sums step by step.
    """

    def __call__(
        self,
        gradients: Callable[..., tuple[np.ndarray, P]],
        params: P,
        rows: tuple[object, ...],
        steps: Sequence[slice],
    ) -> tuple[np.ndarray, P]: ...


def sum_at_once(
    gradients: Callable[..., tuple[np.ndarray, P]],
    params: P,
    rows: tuple[object, ...],
    steps: Sequence[slice],
) -> tuple[np.ndarray, P]:
    """The sum over all rows in one product; see `SumGradients`."""
    return gradients(params, *rows)


class Arithmetic(NamedTuple):
    """How a net evaluates its activations and sums its gradients."""

    sigmoid: Activation
    tanh: Activation
    relu: Activation
    sum_gradients: SumGradients


NUMPY = Arithmetic(activations.sigmoid, activations.tanh, activations.relu, sum_at_once)
