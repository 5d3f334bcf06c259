"""Backpropagation through time that keeps O(√T) of the past and computes the rest again.

    T steps in segments of K; kept: the state at the start of each, T/K of them

    (1)  s_{(j+1)K} = unroll over segment j from s_{jK}           its tape is thrown away
    (2)  for j from the last to the first: unroll segment j again from s_{jK}, to have its tape,
    (3)  and take δs_{(j+1)K} to δs_{jK} over it; ∂L/∂θ sums over segments

T/K states and one tape of K steps are alive at a time, fewest for K ≈ √T. The price is a second
forward pass. A segment unrolled again gives the same bits, for it is the same program on the same
numbers, so the gradient is bit for bit the one that keeping every segment's tape would give.

Source: Chen et al. 2016; Gruslys et al. 2016 for recurrent nets; Griewank 1992 for less memory yet.
Page: docs/sequences/checkpoint.md
"""

from math import isqrt
from typing import Any, NamedTuple

import numpy as np

from ..cells.cell import Cell
from ..cells.fields import add, rows_of
from .unroll import schedule, unroll, unroll_back


class Segment(NamedTuple):
    """Consecutive steps: batch sizes, rows of the data, and the state they start from."""

    batch_sizes: np.ndarray
    rows: slice
    state: Any


class Tape(NamedTuple):
    """What `checkpointed_back` reads."""

    params: Any
    x: np.ndarray
    segments: list[Segment]


def checkpointed(
    cell: Cell,
    params: Any,
    x: np.ndarray,
    state: Any,
    batch_sizes: np.ndarray,
    K: int | None = None,
) -> tuple[np.ndarray, Any, Tape]:
    """`unroll` in segments of K steps, ⌈√T⌉ unless given, keeping the state before each.

    x [N, I] and the state [B, ·] as in `unroll`. Raises ValueError where K < 1.
    """
    T = len(batch_sizes)
    K = isqrt(T - 1) + 1 if K is None else K
    if K < 1:
        raise ValueError(f"Expected segments of one step or more, got K={K}.")
    current = state._make([s.copy() for s in state])
    segments, outputs, start = [], [], 0
    for j in range(0, T, K):
        sizes = batch_sizes[j : j + K]
        rows = slice(start, start + int(sizes.sum()))
        alive = rows_of(current, slice(sizes[0]))
        segment = Segment(sizes, rows, alive._make([s.copy() for s in alive]))
        output, last, _ = unroll(cell, params, x[rows], segment.state, schedule(sizes))  # (1)
        for field, value in zip(alive, last, strict=True):
            field[:] = value
        segments.append(segment)
        outputs.append(output)
        start = rows.stop
    return np.concatenate(outputs), current, Tape(params, x, segments)


def checkpointed_back(
    cell: Cell, tape: Tape, d_output: np.ndarray, d_state: Any
) -> tuple[np.ndarray, Any, Any]:
    """δx [N, I], δ of the initial state and of every parameter, as `unroll_back`."""
    total = d_state._make([d.copy() for d in d_state])
    d_x, d_params = np.empty_like(tape.x), None
    for sizes, rows, state in reversed(tape.segments):
        _, _, unrolled = unroll(cell, tape.params, tape.x[rows], state, schedule(sizes))  # (2)
        alive = rows_of(total, slice(sizes[0]))
        d_x[rows], before, d_segment = unroll_back(cell, unrolled, d_output[rows], alive)  # (3)
        for field, value in zip(alive, before, strict=True):
            field[:] = value
        d_params = d_segment if d_params is None else add(d_params, d_segment)
    return d_x, total, d_params
