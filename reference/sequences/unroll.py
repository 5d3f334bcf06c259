"""A cell unrolled over packed rows, and its adjoint: backpropagation through time.

    x  [N, I]       rows of all steps; step t has the first n_t sequences, n_0 = B ≥ n_1 ≥ …
    h  [B + N, H]   h_0, then the h of every step: the history; [B + N, P] with a projection
    state           h, or h and c, rows [B, ·] before the first and after the last step

For an LSTM the h of (1), (2) and their adjoints is the pair (h, c); output is h only.
A dense batch has n_t = B for every t; a packed batch needs no special case. Step t reads the first
n_t rows of the step before it. Where a sequence ends, its last state stays where it was written.

Forward
    (1)  h₋ = the rows of step t − 1 that continue,  h = the rows of step t
    (2)  h = cell(x_t, h₋)                          for t = 0 … T−1
    (3)  output = h of every step,  h_n = h of every sequence's last step

Adjoint
    (3′) δh = δh_n where a sequence ends
    (2′) δh = δoutput_t + δh,  δh₋ = cell′(δh)       for t = T−1 … 0; cell′ is the cell's adjoint
    (1′) δh_0 = δh after step 0,  δx and δθ, of the parameters, from the rows of all steps at once

The code has one array of B rows for δh, a copy of δh_n. Step t changes its first n_t rows, so row b
still is δh_n when the loop reaches the last step of sequence b: this is (3′).

The reverse direction is the same loop after every sequence is reversed within its own length. This
reversal is a permutation of the rows and its own inverse.

Source: Werbos 1990; Graves & Schmidhuber 2005 for two directions.
Page: docs/sequences/unroll.md
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from ..arithmetic import NUMPY, Arithmetic
from ..cells.cell import Cell
from ..cells.fields import Fields, copy, make, rows_of
from ..cells.table import CellParams, CellState


class Schedule(NamedTuple):
    """The rows that each step reads and writes."""

    steps: list[slice]  # of x: the rows of each step
    last: slice | np.ndarray  # of the history: the last state of every sequence, [B]
    previous: slice | np.ndarray  # of the history: the state before each row of x, [N]
    reversal: np.ndarray  # of x: every sequence reversed in its own length, [N]


class Tape(NamedTuple):
    """The values that `unroll_back` reads."""

    params: CellParams
    x: np.ndarray
    history: CellState  # [B + N, ·]
    tape: Fields  # of the cell, rows [N, ·]
    schedule: Schedule
    arithmetic: Arithmetic


def schedule(batch_sizes: Sequence[int] | np.ndarray) -> Schedule:
    """The rows of each step from batch_sizes [T] = n_0, n_1, …, which never increase."""
    n = np.asarray(batch_sizes, dtype=np.intp)
    bounds = list(accumulate(n.tolist(), initial=0))  # step t has the rows bounds[t:t+2]
    T, B, N = len(n), int(n[0]), bounds[-1]
    steps = [slice(start, stop) for start, stop in pairwise(bounds)]
    if n[-1] == B:
        reversal = np.arange(N).reshape(T, B)[::-1].ravel()
        return Schedule(steps, slice(N, N + B), slice(0, N), reversal)
    start = np.array(bounds[:-1])
    before = np.concatenate([[0], start[:-1] + B])  # of the history: start of the step before
    t = np.repeat(np.arange(T), n)
    row = np.arange(N) - start[t]
    length = (n > np.arange(B)[:, None]).sum(axis=1)
    reversal = start[length[row] - 1 - t] + row
    return Schedule(steps, B + start[length - 1] + np.arange(B), before[t] + row, reversal)


def unroll(
    cell: Cell,
    params: CellParams,
    x: np.ndarray,
    state: CellState,
    rows: Schedule,
    arithmetic: Arithmetic = NUMPY,
) -> tuple[np.ndarray, CellState, Tape]:
    """Output [N, H] or [N, P], each sequence's state [B, ·] after its last step, and the tape.

    x is [N, I], the state [B, ·] of the same dtype; `rows` is the schedule of the batch. The
    output is a view of the tape's history, and so is the state of a dense batch.
    """
    B = len(state[0])
    u = cell.net_input(params, x)
    tape = cell.new_tape(u)
    history = make(state, [np.empty((B + len(x), s.shape[1]), s.dtype) for s in state])
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
    cell: Cell, tape: Tape, d_output: np.ndarray, d_state: CellState
) -> tuple[np.ndarray, CellState, CellParams]:
    """δx [N, I], δ of the initial state [B, ·] and of every parameter.

    The cotangents are d_output, shaped like the output, and d_state [B, ·] of the final state.
    """
    params, x, history, cell_tape, rows, arithmetic = tape
    total = copy(d_state)  # (3′)
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
