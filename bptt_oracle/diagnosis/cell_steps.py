"""One step of each cell on the tape, with the functions of `Equations`."""

from collections.abc import Callable

from .equations import Candidate, Equations, Fields, Moment, Params
from .tape import Tape, Var

Step = Callable[[Equations, Tape, Params, Var, Fields, Moment], Fields]


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


def _gates_of_gru(
    equations: Equations, tape: Tape, p: Params, x: Var, state: Fields, moment: Moment
) -> tuple[Var, Candidate]:
    """z, and what the candidate reads."""
    (h,) = state
    u_r, u_z, u_n = split(equations.packed(tape, _net_input(p, x)), 3)
    v = equations.recurrent(tape, h, p["weight_hh"], moment)
    v_r, v_z, v_n = split(equations.packed(tape, v), 3)
    bias = None
    if "bias_hh" in p:
        b_r, b_z, bias = split(equations.packed(tape, p["bias_hh"]), 3)
        v_r, v_z = v_r + b_r, v_z + b_z
    r = equations.sigmoid(tape, u_r + v_r, "r")
    z = equations.sigmoid(tape, u_z + v_z, "z")
    r, z = equations.gates(tape, [r, z])
    weight = p["weight_hh"][2 * h.value.shape[-1] :]
    return z, Candidate(u_n, v_n, r, h, weight, bias)


def _gru(
    equations: Equations, tape: Tape, p: Params, x: Var, state: Fields, moment: Moment
) -> Fields:
    z, parts = _gates_of_gru(equations, tape, p, x, state, moment)
    n = equations.candidate(tape, parts, lambda a: equations.tanh(tape, a, "n"))
    return [equations.blend(tape, z, n, parts.h)]


def _lstm(
    equations: Equations, tape: Tape, p: Params, x: Var, state: Fields, moment: Moment
) -> Fields:
    h, c = state
    a = _net_input(p, x) + equations.recurrent(tape, h, p["weight_hh"], moment)
    if "bias_hh" in p:
        a = a + p["bias_hh"]
    a_i, a_f, a_g, a_o = split(equations.packed(tape, a), 4)
    i, f, o = (
        equations.sigmoid(tape, k, gate) for k, gate in zip((a_i, a_f, a_o), "ifo", strict=True)
    )
    i, f, g, o = equations.gates(tape, [i, f, equations.tanh(tape, a_g, "g"), o])
    c = equations.cell(tape, i, f, g, c)
    m = equations.gated(tape, o, c, lambda a: equations.tanh(tape, a, "c"))
    return [m @ p["weight_hr"].T if "weight_hr" in p else m, c]


def _gru_textbook(
    equations: Equations, tape: Tape, p: Params, x: Var, state: Fields, moment: Moment
) -> Fields:
    z, parts = _gates_of_gru(equations, tape, p, x, state, moment)
    n = equations.candidate_of_q(tape, parts, lambda a: equations.tanh(tape, a, "n"))
    return [equations.blend_of_new(tape, z, n, parts.h)]


def _lstm_peephole(
    equations: Equations, tape: Tape, p: Params, x: Var, state: Fields, moment: Moment
) -> Fields:
    h, before = state
    a = _net_input(p, x) + equations.recurrent(tape, h, p["weight_hh"], moment)
    if "bias_hh" in p:
        a = a + p["bias_hh"]
    a_i, a_f, a_g, a_o = split(equations.packed(tape, a), 4)
    p_i, p_f, p_o = split(p["weight_ch"], 3)

    def gate(a: Var, peephole: Var, c: Var, letter: str) -> Var:
        seen = equations.peephole(tape, peephole, c, before, letter)
        return equations.sigmoid(tape, a + seen, letter)

    i, f = gate(a_i, p_i, before, "i"), gate(a_f, p_f, before, "f")
    c = equations.cell(tape, i, f, equations.tanh(tape, a_g, "g"), before)
    o = gate(a_o, p_o, c, "o")
    return [equations.gated(tape, o, c, lambda a: equations.tanh(tape, a, "c")), c]


STEPS: dict[str, Step] = {
    "RNN_TANH": _rnn_tanh,
    "RNN_RELU": _rnn_relu,
    "GRU": _gru,
    "LSTM": _lstm,
    "GRU_TEXTBOOK": _gru_textbook,
    "LSTM_PEEPHOLE": _lstm_peephole,
}
