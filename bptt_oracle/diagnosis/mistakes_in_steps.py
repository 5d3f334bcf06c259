"""Mistakes in the equations of one step: gates, activations, and how the new state is made."""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from torch_impl.execution.problem import Problem

from .equations import GRUS, LSTMS, Candidate, Equations, Fields, Moment, Params
from .mistake import Change, Mistake
from .mistakes_in_parameters import GATES
from .tape import Tape, Var

GATED = (*GRUS, *LSTMS)
TANH_CELLS = ("RNN_TANH", *GATED)
RELU = ("RNN_RELU",)
LIMITS = (8, 10, 15, 20)  # of net inputs, so that exp does not overflow
Tanh = Callable[[Var], Var]


def step_mistakes() -> Iterator[Mistake]:
    """All mistakes of this file."""
    tables: dict[tuple[str, ...], dict[str, Equations]] = {
        ("GRU",): _gru(),
        GRUS: _both_grus(),
        ("GRU_TEXTBOOK",): _gru_textbook(),
        LSTMS: _lstm(),
        ("LSTM_PEEPHOLE",): _lstm_peephole(),
    }
    for cells, table in tables.items():
        for name, equations in table.items():
            yield Mistake(name, (Change(equations),), cells)
    yield Mistake(
        "1 added to the net input of the forget gate",
        (Change(Equations(sigmoid=_plus_one)), Change(Equations(read=_plus_one_in_bias))),
        LSTMS,
    )
    for limit in LIMITS:
        # 1 − tanh 20 is below the roundoff of float64
        cells = GATED if limit == 20 else ("RNN_TANH", *GATED)
        yield Mistake(f"net inputs limited to ±{limit}", _limited(limit), cells, in_values=None)
    for name, cells, equations in _activations():
        yield Mistake(name, (Change(equations),), cells)
    zeros = "every step starts from a state of zeros"  # in a simple cell, weight_hh left out
    yield Mistake(zeros, (Change(Equations(before=_zeros)),), GATED)


def _zeros(tape: Tape, fields: Fields, moment: Moment) -> Fields:
    return [tape.constant(field.value * 0) for field in fields]


def _plus_one(tape: Tape, a: Var, gate: str) -> Var:
    return tape.sigmoid(a + 1 if gate == "f" else a)


def _plus_one_in_bias(tape: Tape, params: Params, problem: Problem) -> Params:
    """1 added to the bias of the forget gate, which a net without biases lacks."""

    def plus_one(bias: Var) -> Var:
        one = bias.value * 0
        one[GATES["LSTM"].index("f") * len(one) // 4 :][: len(one) // 4] += 1
        return bias + tape.constant(one)

    return {n: plus_one(p) if n.startswith("bias_ih") else p for n, p in params.items()}


def _one(tape: Tape, like: Var) -> Var:
    return tape.constant(like.value * 0 + 1)


def _no_reset(tape: Tape, c: Candidate, tanh: Tanh) -> Var:
    a = c.u + c.v
    return tanh(a if c.bias is None else a + c.bias)


def _bias_outside(tape: Tape, c: Candidate, tanh: Tanh) -> Var:
    a = c.u + c.r * c.v
    return tanh(a if c.bias is None else a + c.bias)


def _both_grus() -> dict[str, Equations]:
    def new_only(tape: Tape, z: Var, n: Var, h: Var) -> Var:
        return n

    return {
        "the reset gate left out": Equations(candidate=_no_reset, candidate_of_q=_no_reset),
        "the update gate left out, h = n": Equations(blend=new_only, blend_of_new=new_only),
    }


def _gru() -> dict[str, Equations]:
    def reset_before(tape: Tape, c: Candidate, tanh: Tanh) -> Var:
        v = (c.r * c.h) @ c.weight.T
        return tanh(c.u + (v if c.bias is None else v + c.bias))

    def reset_of_all(tape: Tape, c: Candidate, tanh: Tanh) -> Var:
        return tanh(c.r * (c.u + (c.v if c.bias is None else c.v + c.bias)))

    def reset_flipped(tape: Tape, c: Candidate, tanh: Tanh) -> Var:
        return tanh(c.u + (1 - c.r) * (c.v if c.bias is None else c.v + c.bias))

    def no_tanh(tape: Tape, c: Candidate, tanh: Tanh) -> Var:
        return c.u + c.r * (c.v if c.bias is None else c.v + c.bias)

    return {
        "the reset gate before the product": Equations(candidate=reset_before),
        "b_n of bias_hh outside the reset gate": Equations(candidate=_bias_outside),
        "the reset gate on the whole net input of n": Equations(candidate=reset_of_all),
        "the reset gate flipped, 1 − r in place of r": Equations(candidate=reset_flipped),
        "tanh of n left out": Equations(candidate=no_tanh),
        "the update gate flipped, z ⊙ n + (1 − z) ⊙ h₋": Equations(
            blend=lambda tape, z, n, h: z * n + (1 - z) * h
        ),
        "the factor 1 − z left out": Equations(blend=lambda tape, z, n, h: n + z * h),
        "the factor z left out": Equations(blend=lambda tape, z, n, h: (1 - z) * n + h),
    }


def _gru_textbook() -> dict[str, Equations]:
    def reset_after(tape: Tape, c: Candidate, tanh: Tanh) -> Var:
        return tanh(c.u + c.r * (c.v if c.bias is None else c.v + c.bias))

    return {
        "the reset gate after the product, as in torch": Equations(candidate_of_q=reset_after),
        "the reset gate after the product, the bias outside": Equations(
            candidate_of_q=_bias_outside
        ),
        "the update gate flipped, as in torch": Equations(
            blend_of_new=lambda tape, z, n, h: (1 - z) * n + z * h
        ),
        "torch's GRU": Equations(
            candidate_of_q=reset_after, blend_of_new=lambda tape, z, n, h: (1 - z) * n + z * h
        ),
    }


def _lstm_peephole() -> dict[str, Equations]:
    def without(letters: str) -> Equations:
        return Equations(
            peephole=lambda tape, p, c, before, gate: (p if gate not in letters else p * 0) * c
        )

    return {
        "the peepholes ignored": without("ifo"),
        "the peephole of the output gate ignored": without("o"),
        "the peephole of the output gate reads the old cell state": Equations(
            peephole=lambda tape, p, c, before, gate: p * before
        ),
    }


def _lstm() -> dict[str, Equations]:
    def h_from_old_c() -> Equations:
        before: list[Var] = []

        def cell(tape: Tape, i: Var, f: Var, g: Var, c: Var) -> Var:
            before[:] = [c]
            return f * c + i * g

        return Equations(cell=cell, gated=lambda tape, o, c, tanh: o * tanh(before[0]))

    def clipped(tape: Tape, i: Var, f: Var, g: Var, c: Var) -> Var:
        new = f * c + i * g
        value = np.maximum(np.minimum(new.value, 1), -1)
        return tape.elementwise(new, value, lambda y: (abs(new.value) < 1) * 1)

    return {
        "tanh of c left out, h = o ⊙ c": Equations(gated=lambda tape, o, c, tanh: o * c),
        "h computed from the c before the step": h_from_old_c(),
        "the forget gate left out": Equations(cell=lambda tape, i, f, g, c: c + i * g),
        "the input gate left out": Equations(cell=lambda tape, i, f, g, c: f * c + g),
        "the output gate left out": Equations(gated=lambda tape, o, c, tanh: tanh(c)),
        "1 − f in place of the input gate": Equations(
            cell=lambda tape, i, f, g, c: f * c + (1 - f) * g
        ),
        "1 − i in place of the forget gate": Equations(
            cell=lambda tape, i, f, g, c: (1 - i) * c + i * g
        ),
        "the forget gate flipped, 1 − f in place of f": Equations(
            cell=lambda tape, i, f, g, c: (1 - f) * c + i * g
        ),
        "σ in place of tanh in the output, h = o ⊙ σ(c)": Equations(
            gated=lambda tape, o, c, tanh: o * tape.sigmoid(c)
        ),
        "the cell state clipped to ±1": Equations(cell=clipped),
    }


def _activations() -> Iterator[tuple[str, tuple[str, ...], Equations]]:
    """Other functions in the place of σ, tanh and relu."""
    yield "relu in place of tanh", TANH_CELLS, Equations(tanh=lambda t, a, gate: t.relu(a))
    yield "σ in place of tanh", ("RNN_TANH",), Equations(tanh=lambda t, a, gate: t.sigmoid(a))
    yield "tanh left out", ("RNN_TANH",), Equations(tanh=lambda t, a, gate: a)
    yield "tanh in place of relu", RELU, Equations(relu=lambda t, a, gate: t.tanh(a))
    yield "relu left out", RELU, Equations(relu=lambda t, a, gate: a)
    yield "leaky relu of slope 0.01 in place of relu", RELU, Equations(relu=_leaky)
    yield "relu that ends at 6", RELU, Equations(relu=_relu6)
    for letter, cells in (("g", LSTMS), ("n", GRUS)):
        yield (
            f"σ in place of tanh at {letter}",
            cells,
            Equations(tanh=_at(letter, lambda tape, a: tape.sigmoid(a))),
        )
    yield "tanh of g left out", LSTMS, Equations(tanh=_at("g", lambda tape, a: a))
    for formula, slope in (("a/6 + ½", 1 / 6), ("a/5 + ½", 1 / 5)):
        hard = Equations(sigmoid=_hard_sigmoid(slope))
        yield f"the hard sigmoid {formula} in place of σ", GATED, hard
    yield "tanh in place of σ", GATED, Equations(sigmoid=lambda t, a, gate: t.tanh(a))


def _at(letter: str, function: Callable[[Tape, Var], Var]) -> Callable[[Tape, Var, str], Var]:
    """The function at one gate, tanh at the others."""
    return lambda tape, a, gate: function(tape, a) if gate == letter else tape.tanh(a)


def _leaky(tape: Tape, a: Var, gate: str) -> Var:
    slope = np.where(a.value > 0, 1, a.value * 0 + 1 / a.value.dtype.type(100))
    return tape.elementwise(a, a.value * slope, lambda y: slope)


def _relu6(tape: Tape, a: Var, gate: str) -> Var:
    value = np.minimum(np.maximum(a.value, 0), 6)
    return tape.elementwise(a, value, lambda y: ((a.value > 0) & (a.value < 6)) * 1)


def _hard_sigmoid(slope: float) -> Callable[[Tape, Var, str], Var]:
    def function(tape: Tape, a: Var, gate: str) -> Var:
        exact = 1 / (a.value * 0 + round(1 / slope))  # in the dtype of a
        line = a.value * exact + 0.5
        value = np.minimum(np.maximum(line, 0), 1)
        return tape.elementwise(a, value, lambda y: exact * ((line > 0) & (line < 1)))

    return function


def _limited(limit: int) -> tuple[Change, ...]:
    """Arguments of σ limited, or those of tanh of g or n as well; the gradient is zero outside of
    the limits, or passes."""

    def inside(tape: Tape, a: Var, passes: bool) -> Var:
        value = np.minimum(np.maximum(a.value, -limit), limit)
        return tape.elementwise(a, value, lambda y: ((abs(a.value) < limit) | passes) * 1)

    def equations(of_tanh: bool, passes: bool) -> Equations:
        def tanh(tape: Tape, a: Var, gate: str) -> Var:
            return tape.tanh(inside(tape, a, passes) if of_tanh and gate != "c" else a)

        return Equations(
            sigmoid=lambda tape, a, gate: tape.sigmoid(inside(tape, a, passes)), tanh=tanh
        )

    ways = product((True, False), repeat=2)
    return tuple(Change(equations(of_tanh, passes)) for of_tanh, passes in ways)
