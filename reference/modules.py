"""RNN, GRU, LSTM and their single-step cells: torch.nn's arguments, parameter names and shapes.

    lstm = LSTM(input_size=4, hidden_size=6, num_layers=2, bidirectional=True)
    params = lstm.init(np.random.default_rng(0))
    output, (h_n, c_n), tape = lstm.forward(params, x)
    grads = lstm.backward(tape, d_output, (d_h_n, d_c_n))

    x       [T, B, I]; [B, T, I] with batch_first; [T, I] unbatched; or a PackedSequence
    output  the same layout, with D·H features (D·P under a projection), D directions
    state   h [L·D, B, H], the LSTM's c too; [L·D, H] unbatched; index layer·D + direction

The stack, for layer k = 0 … L−1 and direction d = forward, reverse
    (1)  y_kd = unroll(cell_kd, x_k)              the reverse one over reversed sequences
    (2)  y_k = [y_k,forward, y_k,reverse]         concatenated, not summed
    (3)  x_{k+1} = y_k ⊙ mask_k / (1 − p)         dropout between layers, never after the last

Adjoint
    (3′) δy_k = δx_{k+1} ⊙ mask_k / (1 − p)
    (2′) δy_k,forward, δy_k,reverse = δy_k
    (1′) δx_k = Σ_d unroll′(δy_kd)

Source: torch.nn.RNN, GRU, LSTM.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from . import checks, gru, lstm, rnn
from .layout import Layout, layout_of
from .packing import PackedSequence
from .unroll import Cell, Schedule, schedule, unroll, unroll_back
from .unroll import Tape as UnrollTape

Params = dict[str, np.ndarray]


class Equations(NamedTuple):
    """A cell, its gates, and the tuples it speaks in."""

    gates: int
    params: Any
    state: Any
    cell: Cell


EQUATIONS = {
    "RNN_TANH": Equations(
        1,
        rnn.Params,
        rnn.State,
        Cell(
            rnn.net_input,
            rnn.new_tape,
            rnn.step_tanh,
            rnn.slopes_tanh,
            rnn.step_back,
            rnn.gradients,
        ),
    ),
    "RNN_RELU": Equations(
        1,
        rnn.Params,
        rnn.State,
        Cell(
            rnn.net_input,
            rnn.new_tape,
            rnn.step_relu,
            rnn.slopes_relu,
            rnn.step_back,
            rnn.gradients,
        ),
    ),
    "GRU": Equations(
        3,
        gru.Params,
        gru.State,
        Cell(gru.net_input, gru.new_tape, gru.step, gru.slopes, gru.step_back, gru.gradients),
    ),
    "LSTM": Equations(
        4,
        lstm.Params,
        lstm.State,
        Cell(lstm.net_input, lstm.new_tape, lstm.step, lstm.slopes, lstm.step_back, lstm.gradients),
    ),
}


class Tape(NamedTuple):
    """What `backward` reads: one tape per layer and direction, the scaled masks, x's layout."""

    layers: list[list[UnrollTape]]
    masks: list[np.ndarray]
    rows: Schedule
    layout: Layout


class Grads(NamedTuple):
    """The gradients, each in the layout of what it belongs to."""

    x: Any
    state: Any
    params: Params


def parameter_shapes(net: Any) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter, in torch's order."""
    gates, H, D = EQUATIONS[net.mode].gates, net.hidden_size, 1 + net.bidirectional
    P = net.proj_size or H
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(net.num_layers):
        width = net.input_size if layer == 0 else D * P
        for suffix in suffixes(net, layer):
            shapes[f"weight_ih{suffix}"] = (gates * H, width)
            shapes[f"weight_hh{suffix}"] = (gates * H, P)
            if net.bias:
                shapes[f"bias_ih{suffix}"] = shapes[f"bias_hh{suffix}"] = (gates * H,)
            if net.proj_size:
                shapes[f"weight_hr{suffix}"] = (P, H)
    return shapes


def init(net: Any, rng: np.random.Generator) -> Params:
    """Every parameter drawn from U(−1/√H, 1/√H), in torch's order, float64."""
    bound = max(net.hidden_size, 1) ** -0.5
    return {
        name: rng.uniform(-bound, bound, shape) for name, shape in net.parameter_shapes().items()
    }


def forward(
    net: Any,
    params: Params,
    x: np.ndarray | PackedSequence,
    state: Any = None,
    dropout_masks: Sequence[Any] | None = None,
) -> tuple[Any, Any, Tape]:
    """Output, final state and tape.

    `state` is h_0, for the LSTM (h_0, c_0); zeros when not given. `dropout_masks` holds one mask
    of zeros and ones for each layer but the last, in the layout of `output`; without it nothing
    is dropped. Raises what torch raises for the same mistake, before anything is computed.
    """
    checks.forward(net, params, x, state, dropout_masks)
    equations = EQUATIONS[net.mode]
    layout = layout_of(x, net.batch_first)
    rows = schedule(layout.batch_sizes)
    y = layout.to_rows(x)
    initial = equations.state(
        *_initial_state(net, layout, y, None if state is None else as_tuple(net, state))
    )
    kept = 1 / (1 - net.dropout) if net.dropout < 1 else 0
    masks = [layout.to_rows(mask) * y.dtype.type(kept) for mask in dropout_masks or ()]
    layers: list[list[UnrollTape]] = []
    final: list[Any] = []
    for layer in range(net.num_layers):
        tapes, outputs = [], []
        for suffix in suffixes(net, layer):
            reverse = suffix.endswith("_reverse")
            output, last, tape = unroll(  # (1)
                equations.cell,
                cell_params(net, params, suffix),
                y[rows.reversal] if reverse else y,
                initial._make([s[len(final)] for s in initial]),
                rows,
            )
            outputs.append(output[rows.reversal] if reverse else output)
            tapes.append(tape)
            final.append(last)
        y = np.concatenate(outputs, axis=1) if net.bidirectional else outputs[0]  # (2)
        if masks and layer < net.num_layers - 1:
            y = y * masks[layer]  # (3)
        layers.append(tapes)
    h_n = [layout.state_from_rows(np.array(s)) for s in zip(*final, strict=True)]
    return layout.from_rows(y), from_tuple(net, h_n), Tape(layers, masks, rows, layout)


def backward(net: Any, tape: Tape, d_output: Any = None, d_state: Any = None) -> Grads:
    """Gradients of x, of the initial state and of every parameter.

    `d_output` has the layout of `output`, `d_state` that of the state; either may be None, and so
    may either half of an LSTM's: that cotangent is zero.
    """
    checks.backward(net, tape, d_output, d_state)
    equations = EQUATIONS[net.mode]
    layout, rows = tape.layout, tape.rows
    last = tape.layers[-1][0]
    N, width = len(last.x), last.history.h.shape[1]
    D = 1 + net.bidirectional
    d_y: Any = (
        np.zeros_like(last.x, shape=(N, D * width))
        if d_output is None
        else layout.to_rows(d_output)
    )
    d_final = _initial_state(net, layout, last.x, as_tuple(net, d_state))
    d_initial: list[Any] = []
    grads: Params = {}
    for layer in reversed(range(net.num_layers)):
        if tape.masks and layer < net.num_layers - 1:
            d_y = d_y * tape.masks[layer]  # (3′)
        d_x: Any = None
        for direction in reversed(range(D)):
            suffix = suffixes(net, layer)[direction]
            d_half = d_y[:, direction * width : (direction + 1) * width]  # (2′)
            d_h_n = equations.state(*[d[layer * D + direction] for d in d_final])
            d_in, d_h_0, d_params = unroll_back(  # (1′)
                equations.cell,
                tape.layers[layer][direction],
                d_half[rows.reversal] if direction else d_half,
                d_h_n,
            )
            d_in = d_in[rows.reversal] if direction else d_in
            d_x = d_in if d_x is None else d_x + d_in
            d_initial.insert(0, d_h_0)
            grads |= {f"{n}{suffix}": d for n, d in d_params._asdict().items() if d is not None}
        d_y = d_x
    d_h_0 = [layout.state_from_rows(np.array(s)) for s in zip(*d_initial, strict=True)]
    in_order = {name: grads[name] for name in net.parameter_shapes()}
    return Grads(layout.from_rows(d_y), from_tuple(net, d_h_0), in_order)


def cell_forward(
    net: Any, params: Params, x: np.ndarray, state: Any = None
) -> tuple[Any, "CellTape"]:
    """The state after one step of x [B, I] or [I], and the tape.

    `state` is h [B, H], for the LSTM cell (h, c); zeros when not given. Raises what torch raises
    for the same mistake.
    """
    checks.cell_forward(net, params, x, state)
    equations = EQUATIONS[net.mode]
    rows = x[None] if x.ndim == 1 else x
    weights = cell_params(net, params, "")
    zeros = np.zeros_like(rows, shape=(len(rows), net.hidden_size))
    given = [zeros] * len(equations.state._fields) if state is None else as_tuple(net, state)
    before = equations.state(*[s.reshape(len(rows), net.hidden_size) for s in given])
    u = equations.cell.net_input(weights, rows)
    tape = equations.cell.new_tape(u)
    after = before._make([np.empty_like(s) for s in before])
    equations.cell.step(weights, u, before, tape, after)
    outer = x.shape[:-1]
    value = from_tuple(net, [s.reshape(*outer, net.hidden_size) for s in after])
    return value, CellTape(weights, rows, before, tape, after, outer)


def cell_backward(net: Any, tape: "CellTape", d_state: Any) -> Grads:
    """Gradients of x, of the state before and of every parameter; d_state as in `backward`."""
    checks.cell_backward(net, tape, d_state)
    cell = EQUATIONS[net.mode].cell
    given = [None] * len(tape.before) if d_state is None else as_tuple(net, d_state)
    total = tape.before._make(
        [
            np.zeros_like(s) if d is None else np.array(d).reshape(s.shape)
            for s, d in zip(tape.after, given, strict=True)
        ]
    )
    delta = cell.slopes(tape.params, tape.before, tape.tape, tape.after)
    cell.step_back(tape.params, tape.tape, total, delta)
    d_x, d_params = cell.gradients(tape.params, tape.x, tape.before.h, tape.tape, delta)
    grads = {name: d for name, d in d_params._asdict().items() if d is not None}
    d_state = from_tuple(net, [d.reshape(*tape.outer, net.hidden_size) for d in total])
    return Grads(d_x.reshape(*tape.outer, net.input_size), d_state, grads)


class CellTape(NamedTuple):
    """What `cell_backward` reads."""

    params: Any
    x: np.ndarray
    before: Any
    tape: Any
    after: Any
    outer: tuple[int, ...]


def suffixes(net: Any, layer: int) -> list[str]:
    """What ends the parameter names of a layer, one for each direction."""
    return [f"_l{layer}", f"_l{layer}_reverse"][: 1 + net.bidirectional]


def cell_params(net: Any, params: Params, suffix: str) -> Any:
    """The parameters of one layer and direction."""
    fields = EQUATIONS[net.mode].params._fields
    return EQUATIONS[net.mode].params(*[params.get(name + suffix) for name in fields])


def as_tuple(net: Any, state: Any) -> Sequence[Any]:
    """(h,) or (h, c) of a state as the facade speaks of it."""
    if net.mode == "LSTM":
        return (None, None) if state is None else state
    return (state,)


def from_tuple(net: Any, state: Sequence[np.ndarray]) -> Any:
    """A state as the facade speaks of it: an array, or the LSTM's (h, c)."""
    return lstm.State(*state) if net.mode == "LSTM" else state[0]


def _initial_state(
    net: Any, layout: Layout, like: np.ndarray, state: Sequence[Any] | None
) -> list[np.ndarray]:
    """The state's arrays [L·D, B, ·] in the order of the rows, zeros for those not given."""
    L = net.num_layers * (1 + net.bidirectional)
    B = int(layout.batch_sizes[0])
    widths = [net.proj_size or net.hidden_size, net.hidden_size][: 1 + (net.mode == "LSTM")]
    return [
        np.zeros_like(like, shape=(L, B, width)) if s is None else layout.state_to_rows(s)
        for width, s in zip(widths, state or (None, None), strict=False)
    ]


@dataclass(frozen=True)
class RNN:
    """h_t = φ(W_ih x_t + b_ih + W_hh h_{t−1} + b_hh), φ = tanh or relu; see `reference.rnn`."""

    input_size: int
    hidden_size: int
    num_layers: int = 1
    nonlinearity: str = "tanh"
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False
    proj_size: int | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        checks.construction(self)

    parameter_shapes, init, forward, backward = parameter_shapes, init, forward, backward

    @property
    def mode(self) -> str:
        """Torch's name of the equations."""
        return f"RNN_{self.nonlinearity.upper()}"


@dataclass(frozen=True)
class GRU:
    """The gated recurrent unit; see `reference.gru`."""

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False
    proj_size: int | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        checks.construction(self)

    parameter_shapes, init, forward, backward = parameter_shapes, init, forward, backward
    mode = "GRU"


@dataclass(frozen=True)
class LSTM:
    """Long short-term memory, with a projection of h where proj_size > 0; see `reference.lstm`."""

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False
    proj_size: int = 0

    def __post_init__(self) -> None:
        checks.construction(self)

    parameter_shapes, init, forward, backward = parameter_shapes, init, forward, backward
    mode = "LSTM"


def cell_parameter_shapes(net: Any) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter, in torch's order."""
    rows = EQUATIONS[net.mode].gates * net.hidden_size
    shapes: dict[str, tuple[int, ...]] = {
        "weight_ih": (rows, net.input_size),
        "weight_hh": (rows, net.hidden_size),
    }
    return shapes | ({"bias_ih": (rows,), "bias_hh": (rows,)} if net.bias else {})


@dataclass(frozen=True)
class RNNCell:
    """One step of the simple recurrent net; see `reference.rnn`."""

    input_size: int
    hidden_size: int
    bias: bool = True
    nonlinearity: str = "tanh"

    def __post_init__(self) -> None:
        checks.cell_construction(self)

    parameter_shapes, init = cell_parameter_shapes, init
    forward, backward = cell_forward, cell_backward

    @property
    def mode(self) -> str:
        """Torch's name of the equations."""
        return f"RNN_{self.nonlinearity.upper()}"


@dataclass(frozen=True)
class GRUCell:
    """One step of the gated recurrent unit; see `reference.gru`."""

    input_size: int
    hidden_size: int
    bias: bool = True

    def __post_init__(self) -> None:
        checks.cell_construction(self)

    parameter_shapes, init = cell_parameter_shapes, init
    forward, backward = cell_forward, cell_backward
    mode = "GRU"


@dataclass(frozen=True)
class LSTMCell:
    """One step of the LSTM; see `reference.lstm`."""

    input_size: int
    hidden_size: int
    bias: bool = True

    def __post_init__(self) -> None:
        checks.cell_construction(self)

    parameter_shapes, init = cell_parameter_shapes, init
    forward, backward = cell_forward, cell_backward
    mode = "LSTM"
