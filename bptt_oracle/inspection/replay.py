"""One layer and direction of a recorded call, computed again by the equations of the reference.

    s_t  state after step t: h_t, of an LSTM also c_t        ȳ_t  its direct cotangent
    δ_t  ∂L/∂s_t over every path, δ_t = ȳ_t + J_{t+1}ᵀ δ_{t+1}: (3) of `reference.dynamics.products`

h_t is not computed again: it is the recorded output of step t. So errors do not grow from step to
step, also not in a chaotic net, and the slope of relu is that of the recorded state. Gates and c_t
are computed from the recorded h_{t−1}; δ_t from the recorded cotangents, by the cells' adjoints.

The rows are those of the call in the order in which the direction reads them: in the reverse
direction every sequence is reversed within its length.

Page: docs/inspection/norms.md
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from reference.arithmetic import NUMPY
from reference.cells import lstm
from reference.cells.cell import Cell
from reference.cells.fields import make, rows_of
from reference.cells.table import CellParams, CellState
from reference.sequences.unroll import Schedule, schedule

from .layer_call import LayerCall

DIRECTIONS = ("forward", "reverse")


class Trajectory(NamedTuple):
    """The states and the tape of one layer and direction, rows [N, ·]."""

    cell: Cell
    params: CellParams
    schedule: Schedule
    before: CellState  # the state before each row's step
    after: CellState  # and after it
    tape: Any  # of the cell


class Signals(NamedTuple):
    """δ of the states, rows [N, ·], and of the initial state [B, ·]."""

    of_states: CellState
    of_initial: CellState


class Cotangents(NamedTuple):
    """ȳ of one layer and direction: of every output, and of the final state of every sequence."""

    output: np.ndarray  # [N, F]
    final: CellState  # [B, ·]


def replay(call: LayerCall, direction: int) -> Trajectory:
    """The trajectory of one direction of a recorded call."""
    cell, params, rows = call.cell, call.params[direction], schedule(call.batch_sizes)
    x, h = call.x, call.half(call.output, direction)
    if direction:
        x, h = x[rows.reversal], h[rows.reversal]
    initial = cell.State(*[field[direction] for field in call.initial])
    B, N = len(initial.h), len(x)
    history = make(initial, [np.zeros((B + N, s.shape[1]), s.dtype) for s in initial])
    history.h[:B], history.h[B:] = initial.h, h
    after = rows_of(history, slice(B, None))
    before = rows_of(history, rows.previous)
    if len(cell.gates) == 1:
        return Trajectory(cell, params, rows, before, after, cell.new_tape(x))
    computed = make(initial, [np.empty_like(h), *after[1:]])
    with np.errstate(all="ignore"):
        u = cell.net_input(params, x)
        tape: Any = cell.new_tape(u)
        # h_{t−1} is known for all steps: they are one step of N rows. While c_{t−1} is 0, c_t is
        # i ⊙ g alone.
        cell.step(params, u, before, tape, computed, NUMPY)
        if isinstance(initial, lstm.State):
            history.c[:B] = initial.c
            _add_memory(rows, tape, history.c)
    return Trajectory(cell, params, rows, rows_of(history, rows.previous), after, tape)


def _add_memory(rows: Schedule, tape: lstm.Tape, c: np.ndarray) -> None:
    """Make c_t = f_t ⊙ c_{t−1} + i_t ⊙ g_t, (4) of the LSTM, of the second term [B + N, H]."""
    f, B = tape.gates[1], len(c) - len(tape.tanh_c)
    previous = c[:B]
    for step in rows.steps:
        n = step.stop - step.start
        after = c[B + step.start : B + step.stop]
        after += f[step] * previous[:n]
        previous = after
    np.tanh(c[B:], out=tape.tanh_c)


def cotangents_of(call: LayerCall, direction: int) -> Cotangents:
    """The recorded cotangents of one direction; zeros where no gradient arrived."""
    d_output = call.cotangents.get("output")
    d_output = np.zeros_like(call.output) if d_output is None else d_output
    d_half = call.half(d_output, direction)
    if direction:
        d_half = d_half[schedule(call.batch_sizes).reversal]
    d_final: list[np.ndarray] = []
    for name, field in zip(("h_n", "c_n"), call.final, strict=False):
        recorded = call.cotangents.get(name)
        d_final.append(np.zeros_like(field[direction]) if recorded is None else recorded[direction])
    return Cotangents(d_half, call.cell.State(*d_final))


def error_signals(trajectory: Trajectory, *cotangents: Cotangents) -> list[Signals]:
    """δ of every state, for each of the cotangents.

    At the last step of a sequence δ is that of the output and of the final state together. δc_t
    does not contain the path through h_t of its own step: the state has two parts, h_t and c_t.
    """
    with np.errstate(all="ignore"):
        if isinstance(trajectory.before, lstm.State):
            return _lstm_error_signals(trajectory, cotangents)
        return [_error_signals(trajectory, one) for one in cotangents]


def _error_signals(trajectory: Trajectory, cotangents: Cotangents) -> Signals:
    """δ by the adjoint of the cell."""
    cell, params, rows, before, after, tape = trajectory
    total = make(cotangents.final, [field.copy() for field in cotangents.final])
    signals = make(total, [np.empty_like(field) for field in after])
    delta = cell.new_delta(params, before, tape)
    for step in reversed(rows.steps):
        of_step = rows_of(total, slice(step.stop - step.start))
        of_step.h[:] += cotangents.output[step]
        signals.h[step] = of_step.h
        states = [rows_of(fields, step) for fields in (before, tape, after)]
        cell.step_back(params, *states, of_step, rows_of(delta, step))
    return Signals(signals, total)


def _lstm_error_signals(trajectory: Trajectory, cotangents: Sequence[Cotangents]) -> list[Signals]:
    """δ by the adjoint of the LSTM, the equations of `reference.cells.lstm`.

    The factors that do not depend on δ are computed for all steps at once, and all cotangents in
    one loop: an LSTM of torch takes so little time that the cell's own loop would cost more than
    the training step.
    """
    params: Any = trajectory.params
    before: Any = trajectory.before
    (i, f, g, o), tanh_c = trajectory.tape
    into_c = o * (1 - tanh_c * tanh_c)  # (5′)
    into_a = np.empty((len(f), 4, f.shape[1]), f.dtype)
    into_a[:, 0] = g * i * (1 - i)  # (4′), (3′)
    into_a[:, 1] = before.c * f * (1 - f)
    into_a[:, 2] = i * (1 - g * g)
    into_a[:, 3] = tanh_c * o * (1 - o)
    d_output = np.stack([one.output for one in cotangents])
    h, c = (np.stack(field) for field in zip(*[one.final for one in cotangents], strict=True))
    all_h, all_c = (np.empty((len(s), len(f), s.shape[2]), f.dtype) for s in (h, c))
    for step in reversed(trajectory.schedule.steps):
        rows = slice(step.stop - step.start)
        delta_h, delta_c = all_h[:, step], all_c[:, step]
        np.add(h[:, rows], d_output[:, step], out=delta_h)
        delta_c[:] = c[:, rows]
        delta_m = delta_h if params.weight_hr is None else delta_h @ params.weight_hr  # (6′)
        whole = delta_m * into_c[step]
        whole += delta_c
        delta_a = into_a[step] * whole[:, :, None]
        np.multiply(into_a[step, 3], delta_m, out=delta_a[:, :, 3])
        np.multiply(whole, f[step], out=c[:, rows])
        before_h = delta_a.reshape(-1, len(params.weight_hh)) @ params.weight_hh  # (2′)
        h[:, rows] = before_h.reshape(delta_h.shape)
    pairs = zip(all_h, all_c, h, c, strict=True)
    return [Signals(lstm.State(*s[:2]), lstm.State(*s[2:])) for s in pairs]


def steps_and_rows(batch_sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The step and the sequence [N] of every row."""
    step, row = np.nonzero(batch_sizes[:, None] > np.arange(batch_sizes[0]))
    return step, row
