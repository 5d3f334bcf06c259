"""Single-step cells: torch.nn's arguments, parameter names and shapes over one step of a cell.

    cell = LSTMCell(input_size=4, hidden_size=6)
    (h, c), tape = cell.forward(params, x, (h_before, c_before))
    grads = cell.backward(tape, (d_h, d_c))

    x  [B, I] or [I]      h, c  [B, H] or [H]

Source: torch.nn.RNNCell, GRUCell, LSTMCell.
Page: docs/nets/modules.md
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..cells.table import EQUATIONS, Grads, Params, as_tuple, cell_params, from_tuple
from . import arguments, construction
from .layout import read_only
from .modules import init


def cell_forward(
    net: Any, params: Params, x: np.ndarray, state: Any = None
) -> tuple[Any, "CellTape"]:
    """The state after one step of x [B, I] or [I], and the tape.

    `state` is h [B, H], for the LSTM cell (h, c); zeros when not given. Raises what torch raises
    for the same mistake. The state after is read-only, for it is the tape's own memory.
    """
    arguments.cell_forward(net, params, x, state)
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
    value = from_tuple(net, [read_only(s).reshape(*outer, net.hidden_size) for s in after])
    return value, CellTape(weights, rows, before, tape, after, outer)


def cell_backward(net: Any, tape: "CellTape", d_state: Any) -> Grads:
    """Gradients of x, of the state before and of every parameter; d_state as in `backward`."""
    arguments.cell_backward(net, tape, d_state)
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
    """One step of the simple recurrent net; see `reference.cells.rnn`."""

    input_size: int
    hidden_size: int
    bias: bool = True
    nonlinearity: str = "tanh"

    def __post_init__(self) -> None:
        construction.of_cell(self)

    parameter_shapes, init = cell_parameter_shapes, init
    forward, backward = cell_forward, cell_backward

    @property
    def mode(self) -> str:
        """Torch's name of the equations."""
        return f"RNN_{self.nonlinearity.upper()}"


@dataclass(frozen=True)
class GRUCell:
    """One step of the gated recurrent unit; see `reference.cells.gru`."""

    input_size: int
    hidden_size: int
    bias: bool = True

    def __post_init__(self) -> None:
        construction.of_cell(self)

    parameter_shapes, init = cell_parameter_shapes, init
    forward, backward = cell_forward, cell_backward
    mode = "GRU"


@dataclass(frozen=True)
class LSTMCell:
    """One step of the LSTM; see `reference.cells.lstm`."""

    input_size: int
    hidden_size: int
    bias: bool = True

    def __post_init__(self) -> None:
        construction.of_cell(self)

    parameter_shapes, init = cell_parameter_shapes, init
    forward, backward = cell_forward, cell_backward
    mode = "LSTM"
