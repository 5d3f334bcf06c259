"""A recurrent net written once on the tape, with every place where people err as a function.

The equations are those of `reference/cells`, written a second time: the defaults of `Equations`
are right, and a test compares them with the reference. Sequences are padded [T, B, ·]; a row that
has ended keeps its state, so that the reverse direction starts at the last step of every row.

Page: docs/diagnosis/diagnosis.md
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from reference.arithmetic import Arithmetic
from reference.nets.layout import Layout, layout_of
from torch_impl.execution.problem import Problem

from ..judging.evaluation import Results
from .cell_steps import STEPS
from .equations import Dropout, Equations, Fields, Moment, Params
from .tape import Round, Tape, Var


def evaluate_equations(
    problem: Problem,
    equations: Equations,
    store: Callable[[np.ndarray], np.ndarray],
    arithmetic: Arithmetic,
    round: Round | None = None,
    gradients: bool = True,
    masks: Sequence[np.ndarray] = (),
) -> Results:
    """The results of a problem under some equations, by the names of `judging.evaluation`.

    Each array of the problem, and each of the dropout `masks` of zeros and ones, passes through
    `store` first. Without `gradients` only the values are returned.
    """
    tape, net = Tape(arithmetic, round), problem.net
    layout = layout_of(problem.x, net.batch_first)
    x = tape.constant(_time_major(layout, store(problem.x)))
    T, B = x.value.shape[:2]
    lengths = np.array(problem.lengths or [T] * B)
    leaves = {id(p): tape.constant(store(p)) for p in problem.params.values()}
    params = {name: leaves[id(p)] for name, p in problem.params.items()}
    read = equations.read(tape, params, problem)
    widths = [(net.num_layers * net.directions, B, width) for width in net.state_sizes]
    if problem.state is None:
        given = [tape.constant(np.zeros(shape, x.value.dtype)) for shape in widths]
    else:
        state = [store(s) for s in problem.state]
        given = [tape.constant(s.reshape(w)) for s, w in zip(state, widths, strict=True)]
    initial = equations.initial(tape, given, problem)
    dropout = Dropout(
        [tape.constant(_time_major(layout, store(mask))) for mask in masks],
        net.dropout,
        net.dropout_scale,
        net.directions,
    )
    y, finals = x, []
    for layer in range(net.num_layers):
        parts = []
        for direction, suffix in enumerate(net.suffixes(layer)):
            fields = [field[layer * net.directions + direction] for field in initial]
            own = {n.removesuffix(suffix): p for n, p in read.items() if n.endswith(suffix)}
            entered = equations.enter(tape, y, problem, layer, direction)
            mask = _mask_of(dropout, layer, direction)
            part, final = _unroll(
                equations, tape, net.mode, own, entered, fields, lengths, bool(direction), mask
            )
            parts.append(equations.turn(tape, part, problem) if direction else part)
            finals.append(final)
        y = tape.join(parts, 2)
        if layer < net.num_layers - 1:
            y = equations.between(tape, y, problem)
        if dropout.masks:
            y = equations.drop(tape, y, dropout, layer)
    cleared = equations.clear(tape, y, problem)
    stacked = [tape.stack(field) for field in zip(*finals, strict=True)]
    final = equations.final(tape, stacked, y, problem)
    results = {"output": _in_layout(layout, cleared.value)}
    shapes = [(s[0], s[2]) if problem.x.ndim == 2 else s for s in widths]
    names = [name for name, _ in zip(("h_n", "c_n"), final, strict=False)]
    results |= {n: f.value.reshape(s) for n, f, s in zip(names, final, shapes, strict=True)}
    if not gradients:
        return results
    cotangents = [(f, d) for f, d in zip(final, problem.d_state, strict=True) if d is not None]
    seeds = [(f, store(d).reshape(f.value.shape)) for f, d in cotangents]
    if problem.d_output is not None:
        seeds.append((cleared, _time_major(layout, store(problem.d_output))))
    tape.backward(seeds)
    results["d_x"] = _in_layout(layout, _gradient(x))
    if problem.state is not None:
        results |= {
            f"d_{n[0]}_0": _gradient(f).reshape(s)
            for n, f, s in zip(names, given, shapes, strict=True)
        }
    if not equations.d_of_read:
        return results | {f"d_{name}": _gradient(p) for name, p in params.items()}
    tied: dict[int, Any] = {}
    for name, p in problem.params.items():
        tied[id(p)] = tied.get(id(p), 0) + _gradient(read[name])
    return results | {f"d_{name}": tied[id(p)] for name, p in problem.params.items()}


def _gradient(var: Var) -> np.ndarray:
    return var.value * 0 if var.grad is None else var.grad


def _time_major(layout: Layout, value: np.ndarray) -> np.ndarray:
    """[T, B, ·] of an array in a layout; packed batches are padded already."""
    if layout.batch_axis is None:
        return value[:, None]
    return value.swapaxes(0, 1) if layout.batch_axis == 0 else value


def _in_layout(layout: Layout, value: np.ndarray) -> np.ndarray:
    """The inverse of `_time_major`."""
    if layout.batch_axis is None:
        return value[:, 0]
    return value.swapaxes(0, 1) if layout.batch_axis == 0 else value


def _mask_of(dropout: Dropout, layer: int, direction: int) -> Var | None:
    """The scaled mask of a layer and direction [T, B, F]; None if it has none."""
    if layer >= len(dropout.masks):
        return None
    mask = dropout.masks[layer] * dropout.scale
    F = mask.value.shape[-1] // dropout.directions
    return mask[..., direction * F : (direction + 1) * F]


def _unroll(
    equations: Equations,
    tape: Tape,
    mode: str,
    params: Params,
    x: Var,
    fields: Fields,
    lengths: np.ndarray,
    reverse: bool,
    drop: Var | None,
) -> tuple[Var, Fields]:
    """The output [T, B, F] and the final state of one layer in one direction."""
    T = len(x.value)
    active = equations.active(lengths, T, reverse)
    outputs, waiting = [x] * T, np.ones((len(lengths), 1), bool)
    for k, t in enumerate(reversed(range(T)) if reverse else range(T)):
        mask = active[t][:, None]
        moment = Moment(k, T, waiting & mask, reverse, [], None if drop is None else drop[t])
        own = {name: equations.of_step(tape, p, name, moment) for name, p in params.items()}
        before = equations.before(tape, fields, moment)
        new = STEPS[mode](equations, tape, own, x[t], before, moment)
        carried = equations.carry(tape, new, moment)
        y = new[0]
        if not mask.all():
            y = tape.where(mask, y, fields[0])
            kept = [equations.ended(tape, old) for old in fields]
            carried = [tape.where(mask, n, old) for n, old in zip(carried, kept, strict=True)]
        fields, waiting = carried, waiting & ~mask
        moment.after.append(y.value)
        outputs[t] = y
    y = tape.stack(outputs)
    return y, equations.ends(tape, fields, y, active[..., None], reverse)
