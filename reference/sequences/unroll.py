"""Time: a cell unrolled over packed rows, and its adjoint, which is backpropagation through time.

    x  [N, I]   the rows of all steps, step t holding the first n_t sequences, n_0 = B ≥ n_1 ≥ …
    h  [B + N, H]   h_0, then the h of every step: the history
    state  what the cell hands from step to step (h; h and c for the LSTM), each [B, ·] at the ends

A dense batch is n_t = B for every t; a packed one is no special case. Step t reads the first n_t
rows of the step before it. A sequence that has ended leaves its last state where it was written.

Forward
    (1)  h₋, h = the rows of step t − 1 that live on, the rows of step t
    (2)  h = cell(x_t, h₋)                          for t = 0 … T−1
    (3)  output = h of every step,  h_n = h of every sequence's last step

Adjoint
    (3′) δh = δh_n where a sequence ends
    (2′) δh = δoutput_t + δh,  δh₋ = cell′(δh)       for t = T−1 … 0
    (1′) δh_0 = δh after step 0,  parameters and δx from the rows of all steps at once

The reverse direction is the same loop over every sequence reversed in its own length; that
reversal is a permutation of the rows and its own inverse.

Source: Werbos 1990; Graves & Schmidhuber 2005 for two directions.
Page: docs/sequences/unroll.md
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from ..arithmetic import NUMPY, Arithmetic
from ..cells.cell import Cell
from ..cells.fields import rows_of


class Schedule(NamedTuple):
    """Which rows each step reads and writes."""

    steps: list[slice]  # of the data
    last: slice | np.ndarray  # of the history: the last state of every sequence
    previous: slice | np.ndarray  # of the history: the state before each row of the data
    reversal: np.ndarray  # of the data: every sequence reversed in its own length


class Tape(NamedTuple):
    """What the adjoint of `unroll` reads."""

    params: Any
    x: np.ndarray
    history: Any
    tape: Any
    schedule: Schedule
    arithmetic: Arithmetic


def schedule(batch_sizes: Sequence[int] | np.ndarray) -> Schedule:
    """The rows of each step from batch_sizes [T], which never grow."""
    n = np.asarray(batch_sizes, dtype=np.intp)
    at = list(accumulate(n.tolist(), initial=0))  # where each step begins
    T, B, N = len(n), int(n[0]), at[-1]
    steps = [slice(start, stop) for start, stop in pairwise(at)]
    if n[-1] == B:
        reversal = np.arange(N).reshape(T, B)[::-1].ravel()
        return Schedule(steps, slice(N, N + B), slice(0, N), reversal)
    start = np.array(at[:-1])
    before = np.concatenate([[0], start[:-1] + B])  # of the history: where the step before begins
    t = np.repeat(np.arange(T), n)
    row = np.arange(N) - start[t]
    length = (n > np.arange(B)[:, None]).sum(axis=1)
    reversal = start[length[row] - 1 - t] + row
    return Schedule(steps, B + start[length - 1] + np.arange(B), before[t] + row, reversal)


def unroll(
    cell: Cell,
    params: Any,
    x: np.ndarray,
    state: Any,
    rows: Schedule,
    arithmetic: Arithmetic = NUMPY,
) -> tuple[np.ndarray, Any, Tape]:
    """Output [N, H], the state after every sequence's last step, and the tape they are views of."""
    B = len(state[0])
    u = cell.net_input(params, x)
    tape = cell.new_tape(u)
    history = state._make([np.empty((B + len(x), s.shape[1]), s.dtype) for s in state])
    for field, initial in zip(history, state, strict=True):
        field[:B] = initial
    written, before = rows_of(history, slice(B, None)), state
    for step in rows.steps:
        if step.stop - step.start < len(before.h):
            before = rows_of(before, slice(step.stop - step.start))  # (1)
        after = rows_of(written, step)  # (1)
        cell.step(params, u[..., step, :], before, rows_of(tape, step), after, arithmetic)  # (2)
        before = after
    final = rows_of(history, rows.last)  # (3)
    return written.h, final, Tape(params, x, history, tape, rows, arithmetic)


def unroll_back(
    cell: Cell, tape: Tape, d_output: np.ndarray, d_state: Any
) -> tuple[np.ndarray, Any, Any]:
    """δx [N, I], δ of the initial state and of every parameter."""
    params, x, history, cell_tape, rows, arithmetic = tape
    total = d_state._make([d.copy() for d in d_state])  # (3′)
    before, after = rows_of(history, rows.previous), rows_of(history, slice(len(total.h), None))
    delta = cell.new_delta(params, before, cell_tape)
    of_step = rows_of(total, slice(0))
    for step in reversed(rows.steps):
        if step.stop - step.start > len(of_step.h):
            of_step = rows_of(total, slice(step.stop - step.start))
        np.add(d_output[step], of_step.h, out=of_step.h)  # (2′)
        states = [rows_of(fields, step) for fields in (before, cell_tape, after)]
        cell.step_back(params, *states, of_step, rows_of(delta, step))
    all_rows = (x, before, cell_tape, after, delta)
    d_x, d_params = arithmetic.sum_gradients(cell.gradients, params, all_rows, rows.steps)  # (1′)
    return d_x, total, d_params
