"""A recurrent net written once on the tape, with every place where people err as a function.

    read         parameters as the net reads them        p' = read(p)
    initial      states before the first step            [L·D, B, ·]
    recurrent    h₋ W_hhᵀ, with its two gradients
    candidate    tanh(u_n + r ⊙ (W_n h₋ + b_n))          GRU
    blend        (1 − z) ⊙ n + z ⊙ h₋                    GRU
    cell         f ⊙ c₋ + i ⊙ g                          LSTM
    gated        o ⊙ tanh c                              LSTM
    final        states after the last step              [L·D, B, ·]

The equations are those of `reference/cells`, written a second time: the defaults of `Equations`
are right, and a test compares them with the reference. Sequences are padded [T, B, ·]; a row that
has ended keeps its state, so that the reverse direction starts at the last step of every row.

Page: docs/diagnosis/diagnosis.md
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from reference.arithmetic import Arithmetic
from reference.nets.layout import Layout, layout_of
from torch_impl.execution.problem import Problem

from ..judging.evaluation import Results
from .tape import Round, Tape, Var

Params = dict[str, Var]  # by torch's names; of one layer and direction without the suffix
Fields = list[Var]  # h, or h and c


class Moment(NamedTuple):
    """When a step is run."""

    k: int  # it is run k-th of its direction
    T: int
    first: np.ndarray  # whether it is the row's first, [B, 1]
    reverse: bool
    after: list[np.ndarray]  # h after the step, known only in the backward pass


class Candidate(NamedTuple):
    """The parts of a GRU's candidate state, each [B, H] but the last two."""

    u: Var  # of the input, its bias included
    v: Var  # W_n h₋
    r: Var
    h: Var
    weight: Var  # W_n of weight_hh [H, H]
    bias: Var | None  # b_n of bias_hh [H]


def _read(tape: Tape, params: Params, problem: Problem) -> Params:
    return params


def _unchanged(tape: Tape, fields: Fields, problem: Problem) -> Fields:
    return fields


def _sigmoid(tape: Tape, a: Var, gate: str) -> Var:
    return tape.sigmoid(a)


def _tanh(tape: Tape, a: Var, gate: str) -> Var:
    return tape.tanh(a)


def _relu(tape: Tape, a: Var, gate: str) -> Var:
    return tape.relu(a)


def _active(lengths: np.ndarray, T: int, reverse: bool) -> np.ndarray:
    """Whether step t is one of row b: [T, B]."""
    active: np.ndarray = np.arange(T)[:, None] < lengths
    return active


def _before(tape: Tape, fields: Fields, moment: Moment) -> Fields:
    return fields


def _enter(tape: Tape, x: Var, problem: Problem, layer: int, direction: int) -> Var:
    return x


def _of_step(tape: Tape, p: Var, name: str, moment: Moment) -> Var:
    return p


def _recurrent(tape: Tape, h: Var, weight: Var, moment: Moment) -> Var:
    return h @ weight.T


def _candidate(tape: Tape, c: Candidate, tanh: Callable[[Var], Var]) -> Var:
    return tanh(c.u + c.r * (c.v if c.bias is None else c.v + c.bias))


def _blend(tape: Tape, z: Var, n: Var, h: Var) -> Var:
    return (1 - z) * n + z * h


def _cell(tape: Tape, i: Var, f: Var, g: Var, c: Var) -> Var:
    return f * c + i * g


def _gated(tape: Tape, o: Var, c: Var, tanh: Callable[[Var], Var]) -> Var:
    return o * tanh(c)


def _turn(tape: Tape, y: Var, problem: Problem) -> Var:
    return y


def inside(problem: Problem, T: int, B: int) -> np.ndarray:
    """Whether step t lies within the length of row b: [T, B, 1]."""
    lengths = np.array(problem.lengths or [T] * B)
    return _active(lengths, T, False)[..., None]


def clear_padding(tape: Tape, y: Var, problem: Problem) -> Var:
    """y [T, B, ·], its padding set to zero."""
    if problem.lengths is None:
        return y
    return tape.where(inside(problem, *y.value.shape[:2]), y, tape.constant(y.value * 0))


def _between(tape: Tape, y: Var, problem: Problem) -> Var:
    return y


def _final(tape: Tape, fields: Fields, y: Var, problem: Problem) -> Fields:
    return fields


class Equations(NamedTuple):
    """A net's equations; the defaults are right."""

    read: Callable[[Tape, Params, Problem], Params] = _read
    initial: Callable[[Tape, Fields, Problem], Fields] = _unchanged
    sigmoid: Callable[[Tape, Var, str], Var] = _sigmoid  # the last argument is the gate's letter
    tanh: Callable[[Tape, Var, str], Var] = _tanh  # c for tanh c of an LSTM
    relu: Callable[[Tape, Var, str], Var] = _relu
    active: Callable[[np.ndarray, int, bool], np.ndarray] = _active
    enter: Callable[[Tape, Var, Problem, int, int], Var] = _enter  # x of layer, direction
    before: Callable[[Tape, Fields, Moment], Fields] = _before  # the state that enters a step
    of_step: Callable[[Tape, Var, str, Moment], Var] = _of_step  # a parameter in a step
    recurrent: Callable[[Tape, Var, Var, Moment], Var] = _recurrent
    candidate: Callable[[Tape, Candidate, Callable[[Var], Var]], Var] = _candidate
    blend: Callable[[Tape, Var, Var, Var], Var] = _blend
    cell: Callable[[Tape, Var, Var, Var, Var], Var] = _cell
    gated: Callable[[Tape, Var, Var, Callable[[Var], Var]], Var] = _gated
    turn: Callable[[Tape, Var, Problem], Var] = _turn  # the reverse direction's output
    between: Callable[[Tape, Var, Problem], Var] = _between  # from a layer to the next
    clear: Callable[[Tape, Var, Problem], Var] = clear_padding  # padding of the output
    final: Callable[[Tape, Fields, Var, Problem], Fields] = _final
    d_of_read: bool = False  # gradients are those of the parameters as read, in their order


RIGHT = Equations()


def evaluate_equations(
    problem: Problem,
    equations: Equations,
    store: Callable[[np.ndarray], np.ndarray],
    arithmetic: Arithmetic,
    round: Round | None = None,
    gradients: bool = True,
) -> Results:
    """The results of a problem under some equations, by the names of `judging.evaluation`.

    Each array of the problem passes through `store` first. Without `gradients` only the values are
    returned. Dropout is not supported.
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
    y, finals = x, []
    for layer in range(net.num_layers):
        parts = []
        for direction, suffix in enumerate(net.suffixes(layer)):
            fields = [field[layer * net.directions + direction] for field in initial]
            own = {n.removesuffix(suffix): p for n, p in read.items() if n.endswith(suffix)}
            entered = equations.enter(tape, y, problem, layer, direction)
            part, final = _unroll(
                equations, tape, net.mode, own, entered, fields, lengths, bool(direction)
            )
            parts.append(equations.turn(tape, part, problem) if direction else part)
            finals.append(final)
        y = tape.join(parts, 2)
        if layer < net.num_layers - 1:
            y = equations.between(tape, y, problem)
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


def _unroll(
    equations: Equations,
    tape: Tape,
    mode: str,
    params: Params,
    x: Var,
    fields: Fields,
    lengths: np.ndarray,
    reverse: bool,
) -> tuple[Var, Fields]:
    """The output [T, B, F] and the final state of one layer in one direction."""
    T = len(x.value)
    active = equations.active(lengths, T, reverse)
    outputs, waiting = [x] * T, np.ones((len(lengths), 1), bool)
    for k, t in enumerate(reversed(range(T)) if reverse else range(T)):
        mask = active[t][:, None]
        moment = Moment(k, T, waiting & mask, reverse, [])
        own = {name: equations.of_step(tape, p, name, moment) for name, p in params.items()}
        before = equations.before(tape, fields, moment)
        new = _STEPS[mode](equations, tape, own, x[t], before, moment)
        if not mask.all():
            new = [tape.where(mask, n, old) for n, old in zip(new, fields, strict=True)]
        fields, waiting = new, waiting & ~mask
        moment.after.append(fields[0].value)
        outputs[t] = fields[0]
    return tape.stack(outputs), fields


def _net_input(params: Params, x: Var) -> Var:
    u = x @ params["weight_ih"].T
    return u + params["bias_ih"] if "bias_ih" in params else u


def split(a: Var, gates: int) -> list[Var]:
    """The blocks of the gates, along the last axis."""
    H = a.value.shape[-1] // gates
    return [a[..., k * H : (k + 1) * H] for k in range(gates)]


def _rnn(equations: Equations, tape: Tape, p: Params, x: Var, state: Fields, moment: Moment) -> Var:
    a = _net_input(p, x) + equations.recurrent(tape, state[0], p["weight_hh"], moment)
    return a + p["bias_hh"] if "bias_hh" in p else a


def _rnn_tanh(
    equations: Equations, tape: Tape, p: Params, x: Var, state: Fields, moment: Moment
) -> Fields:
    return [equations.tanh(tape, _rnn(equations, tape, p, x, state, moment), "a")]


def _rnn_relu(
    equations: Equations, tape: Tape, p: Params, x: Var, state: Fields, moment: Moment
) -> Fields:
    return [equations.relu(tape, _rnn(equations, tape, p, x, state, moment), "a")]


def _gru(
    equations: Equations, tape: Tape, p: Params, x: Var, state: Fields, moment: Moment
) -> Fields:
    (h,) = state
    u_r, u_z, u_n = split(_net_input(p, x), 3)
    v_r, v_z, v_n = split(equations.recurrent(tape, h, p["weight_hh"], moment), 3)
    bias = None
    if "bias_hh" in p:
        b_r, b_z, bias = split(p["bias_hh"], 3)
        v_r, v_z = v_r + b_r, v_z + b_z
    r = equations.sigmoid(tape, u_r + v_r, "r")
    z = equations.sigmoid(tape, u_z + v_z, "z")
    weight = p["weight_hh"][2 * h.value.shape[-1] :]
    parts = Candidate(u_n, v_n, r, h, weight, bias)
    n = equations.candidate(tape, parts, lambda a: equations.tanh(tape, a, "n"))
    return [equations.blend(tape, z, n, h)]


def _lstm(
    equations: Equations, tape: Tape, p: Params, x: Var, state: Fields, moment: Moment
) -> Fields:
    h, c = state
    a = _net_input(p, x) + equations.recurrent(tape, h, p["weight_hh"], moment)
    if "bias_hh" in p:
        a = a + p["bias_hh"]
    a_i, a_f, a_g, a_o = split(a, 4)
    i, f, o = (
        equations.sigmoid(tape, k, gate) for k, gate in zip((a_i, a_f, a_o), "ifo", strict=True)
    )
    c = equations.cell(tape, i, f, equations.tanh(tape, a_g, "g"), c)
    m = equations.gated(tape, o, c, lambda a: equations.tanh(tape, a, "c"))
    return [m @ p["weight_hr"].T if "weight_hr" in p else m, c]


Step = Callable[[Equations, Tape, Params, Var, Fields, Moment], Fields]
_STEPS: dict[str, Step] = {
    "RNN_TANH": _rnn_tanh,
    "RNN_RELU": _rnn_relu,
    "GRU": _gru,
    "LSTM": _lstm,
}
CELLS: Sequence[str] = tuple(_STEPS)
