"""Backpropagation through time that stores O(√T) states and recomputes the rest.

    T steps in T/K segments of K steps; the state before each segment is stored

    (1)  s_{(j+1)K} = unroll over segment j from s_{jK}           its tape is discarded
    (2)  for j from the last to the first: unroll segment j again from s_{jK} for its tape
    (3)  δs_{(j+1)K} → δs_{jK} by BPTT over segment j; ∂L/∂θ is the sum over segments

Memory holds T/K states and one tape of K steps at a time, which is least for K ≈ √T. The cost is a
second forward pass. Unrolling a segment again gives the same bits, because it is the same program
on the same numbers, so the gradient is bit for bit the one from stored tapes of all segments.

Source: Chen et al. 2016; Gruslys et al. 2016 for recurrent nets; Griewank 1992 for less memory.
Page: docs/sequences/checkpoint.md
"""

from math import isqrt
from typing import NamedTuple

import numpy as np

from ..cells.cell import Cell
from ..cells.fields import add, copy, rows_of
from ..cells.table import CellParams, CellState
from .unroll import schedule, unroll, unroll_back


class Segment(NamedTuple):
    """Consecutive steps: batch sizes, rows of the data, and the state before the first step."""

    batch_sizes: np.ndarray
    rows: slice
    state: CellState


class Tape(NamedTuple):
    """The values that `checkpointed_back` reads."""

    params: CellParams
    x: np.ndarray
    segments: list[Segment]


def checkpointed(
    cell: Cell,
    params: CellParams,
    x: np.ndarray,
    state: CellState,
    batch_sizes: np.ndarray,
    K: int | None = None,
) -> tuple[np.ndarray, CellState, Tape]:
    """`unroll` in segments of K steps, ⌈√T⌉ by default; stores the state before each segment.

    x [N, I] and the state [B, ·] are as in `unroll`. Raises ValueError if K < 1.
    """
    T = len(batch_sizes)
    K = isqrt(T - 1) + 1 if K is None else K
    if K < 1:
        raise ValueError(f"Expected segments of at least one step, got K={K}.")
    current = copy(state)
    segments: list[Segment] = []
    outputs: list[np.ndarray] = []
    start = 0
    for j in range(0, T, K):
        sizes = batch_sizes[j : j + K]
        rows = slice(start, start + int(sizes.sum()))
        reached = rows_of(current, slice(sizes[0]))
        segment = Segment(sizes, rows, copy(reached))
        output, last, _ = unroll(cell, params, x[rows], segment.state, schedule(sizes))  # (1)
        for field, value in zip(reached, last, strict=True):
            field[:] = value
        segments.append(segment)
        outputs.append(output)
        start = rows.stop
    return np.concatenate(outputs), current, Tape(params, x, segments)


def checkpointed_back(
    cell: Cell, tape: Tape, d_output: np.ndarray, d_state: CellState
) -> tuple[np.ndarray, CellState, CellParams]:
    """δx [N, I], δ of the initial state [B, ·] and of every parameter; see `unroll_back`."""
    total = copy(d_state)
    d_x = np.empty_like(tape.x)
    d_params: CellParams | None = None
    for sizes, rows, state in reversed(tape.segments):
        _, _, unrolled = unroll(cell, tape.params, tape.x[rows], state, schedule(sizes))  # (2)
        reached = rows_of(total, slice(sizes[0]))
        d_x[rows], before, d_segment = unroll_back(cell, unrolled, d_output[rows], reached)  # (3)
        for field, value in zip(reached, before, strict=True):
            field[:] = value
        d_params = d_segment if d_params is None else add(d_params, d_segment)
    assert d_params is not None  # there is at least one segment
    return d_x, total, d_params
