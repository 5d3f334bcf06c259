"""The places of a recurrent net where people err, each as a function; the defaults are right.

    read         parameters as the net reads them        p' = read(p)
    initial      states before the first step            [L·D, B, ·]
    recurrent    h₋ W_hhᵀ, with its two gradients
    packed       the blocks of all gates in one array    GRU, LSTM, LSTM_PEEPHOLE
    gates        r z, or i f g o                         GRU, GRU_TEXTBOOK, LSTM
    candidate    tanh(u_n + r ⊙ (W_n h₋ + b_n))          GRU
    blend        (1 − z) ⊙ n + z ⊙ h₋                    GRU
    candidate_of_q  tanh(u_n + W_n (r ⊙ h₋) + b_n)       GRU_TEXTBOOK
    blend_of_new    (1 − z) ⊙ h₋ + z ⊙ n                 GRU_TEXTBOOK
    cell         f ⊙ c₋ + i ⊙ g                          LSTM, LSTM_PEEPHOLE
    peephole     p ⊙ c₋, of the output gate p ⊙ c        LSTM_PEEPHOLE
    gated        o ⊙ tanh c                              LSTM, LSTM_PEEPHOLE
    drop         y ⊙ mask / (1 − p) of a layer           not of the last
    carry        the state that a step leaves to the next one
    ended        the state that a row keeps in its padding
    ends         the final state of a layer in one direction
    final        states after the last step              [L·D, B, ·]

Page: docs/diagnosis/diagnosis.md
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from torch_impl.execution.problem import Problem

from .tape import Tape, Var

LSTMS: tuple[str, ...] = ("LSTM", "LSTM_PEEPHOLE")
GRUS: tuple[str, ...] = ("GRU", "GRU_TEXTBOOK")
CELLS: Sequence[str] = ("RNN_TANH", "RNN_RELU", *GRUS, *LSTMS)
Params = dict[str, Var]  # by torch's names; of one layer and direction without the suffix
Fields = list[Var]  # h, or h and c


class Moment(NamedTuple):
    """When a step is run."""

    k: int  # it is run k-th of its direction
    T: int
    first: np.ndarray  # whether it is the row's first, [B, 1]
    reverse: bool
    after: list[np.ndarray]  # h after the step, known only in the backward pass
    mask: Var | None  # of dropout, scaled, of what the step gives to the layer above [B, F]


class Dropout(NamedTuple):
    """Dropout between the layers of a net."""

    masks: list[Var]  # of zeros and ones [T, B, D·F], one for each layer but the last
    p: float
    scale: float  # 1 / (1 − p)
    directions: int


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


def _packed(tape: Tape, a: Var) -> Var:
    return a


def _gates(tape: Tape, gates: list[Var]) -> list[Var]:
    return gates


def _candidate(tape: Tape, c: Candidate, tanh: Callable[[Var], Var]) -> Var:
    return tanh(c.u + c.r * (c.v if c.bias is None else c.v + c.bias))


def _blend(tape: Tape, z: Var, n: Var, h: Var) -> Var:
    return (1 - z) * n + z * h


def _candidate_of_q(tape: Tape, c: Candidate, tanh: Callable[[Var], Var]) -> Var:
    v = (c.r * c.h) @ c.weight.T
    return tanh(c.u + (v if c.bias is None else v + c.bias))


def _blend_of_new(tape: Tape, z: Var, n: Var, h: Var) -> Var:
    return (1 - z) * h + z * n


def _peephole(tape: Tape, p: Var, c: Var, before: Var, gate: str) -> Var:
    return p * c


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


def _drop(tape: Tape, y: Var, dropout: Dropout, layer: int) -> Var:
    if layer == len(dropout.masks):
        return y
    return y * (dropout.masks[layer] * dropout.scale)


def _carry(tape: Tape, fields: Fields, moment: Moment) -> Fields:
    return fields


def _ended(tape: Tape, old: Var) -> Var:
    return old


def _ends(tape: Tape, fields: Fields, y: Var, active: np.ndarray, reverse: bool) -> Fields:
    return fields


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
    packed: Callable[[Tape, Var], Var] = _packed  # of net inputs, and of bias_hh of a GRU
    gates: Callable[[Tape, list[Var]], list[Var]] = _gates
    candidate: Callable[[Tape, Candidate, Callable[[Var], Var]], Var] = _candidate
    blend: Callable[[Tape, Var, Var, Var], Var] = _blend
    candidate_of_q: Callable[[Tape, Candidate, Callable[[Var], Var]], Var] = _candidate_of_q
    blend_of_new: Callable[[Tape, Var, Var, Var], Var] = _blend_of_new
    peephole: Callable[[Tape, Var, Var, Var, str], Var] = _peephole  # of c, and c₋ of the step
    cell: Callable[[Tape, Var, Var, Var, Var], Var] = _cell
    gated: Callable[[Tape, Var, Var, Callable[[Var], Var]], Var] = _gated
    turn: Callable[[Tape, Var, Problem], Var] = _turn  # the reverse direction's output
    between: Callable[[Tape, Var, Problem], Var] = _between  # from a layer to the next
    drop: Callable[[Tape, Var, Dropout, int], Var] = _drop  # of each layer, the last one too
    carry: Callable[[Tape, Fields, Moment], Fields] = _carry  # the state after a step
    ended: Callable[[Tape, Var], Var] = _ended
    ends: Callable[[Tape, Fields, Var, np.ndarray, bool], Fields] = _ends  # y, steps in the length
    clear: Callable[[Tape, Var, Problem], Var] = clear_padding  # padding of the output
    final: Callable[[Tape, Fields, Var, Problem], Fields] = _final
    d_of_read: bool = False  # gradients are those of the parameters as read, in their order


RIGHT = Equations()
