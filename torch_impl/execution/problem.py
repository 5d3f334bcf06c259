"""What is to be computed: a net of the reference and the arrays that go in."""

from typing import Any, NamedTuple

import numpy as np


class Problem(NamedTuple):
    """A net, its inputs and the cotangents of its outputs, all float64.

    Batches are arrays in the net's layout; those of packed data are padded [T, B, ·] and in the
    order of the rows before sorting, so that nothing depends on how ties are sorted.
    """

    net: Any
    params: dict[str, np.ndarray]
    x: np.ndarray
    lengths: tuple[int, ...] | None
    enforce_sorted: bool
    state: tuple[np.ndarray, ...] | None
    d_output: np.ndarray | None
    d_state: tuple[np.ndarray | None, ...]
    strided: bool
    seed: int  # of the framework's own draws: the dropout masks
