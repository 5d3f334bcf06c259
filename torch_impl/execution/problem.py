"""A problem: a net of the reference and the arrays given to it. Imports no torch."""

from typing import Any, NamedTuple

import numpy as np


class Direction(NamedTuple):
    """A direction along which the parameters, x and the initial state of a problem move, float64.

    Arrays of the shapes of the problem's; one array for parameters that are one array.
    """

    params: dict[str, np.ndarray]
    x: np.ndarray
    state: tuple[np.ndarray, ...] | None


class Problem(NamedTuple):
    """A net, its inputs and the cotangents of its outputs, all float64.

    Dense batches are in the net's layout. Packed batches are padded to [T, B, ·] with the rows in
    the order before sorting, so that nothing depends on how sorting breaks ties.
    """

    net: Any
    params: dict[str, np.ndarray]
    x: np.ndarray
    lengths: tuple[int, ...] | None
    enforce_sorted: bool
    state: tuple[np.ndarray, ...] | None  # h_0, for an LSTM h_0 and c_0; None for zeros
    d_output: np.ndarray | None
    d_state: tuple[np.ndarray | None, ...]
    strided: bool  # whether the tensors made of these arrays are not contiguous
    seed: int  # of the framework's random numbers: the dropout masks
    direction: Direction | None = None  # where derivatives along it are judged too


def is_tied(problem: Problem) -> bool:
    """Whether two parameters are one array."""
    return len({id(p) for p in problem.params.values()}) < len(problem.params)
