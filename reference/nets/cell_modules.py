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

from ..arithmetic import NUMPY
from . import arguments, construction
from .layout import read_only
from .net import Configuration, Grads, Params
from .state import State, join_state, split_state


class CellTape(NamedTuple):
    """What `backward` reads."""

    params: Any
    x: np.ndarray  # [B, I]
    before: Any
    tape: Any
    after: Any
    outer: tuple[int, ...]  # (B,), or () where x has no batch


class CellModule(Configuration):
    """One step of a cell."""

    def __post_init__(self) -> None:
        construction.check_cell(self)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter, in torch's order."""
        return self.cell.parameter_shapes(self.input_size, self.hidden_size, self.bias)

    def forward(
        self, params: Params, x: np.ndarray, state: State | None = None
    ) -> tuple[Any, CellTape]:
        """The state after one step of x [B, I] or [I], and the tape.

        `state` is h [B, H], or (h, c) for the LSTM cell; None is zero. Raises what torch raises for
        the same mistake. The state returned is read-only, because the tape holds the same memory.
        """
        arguments.check_cell_forward(self, params, x, state)
        H, cell = self.hidden_size, self.cell
        rows = x[None] if x.ndim == 1 else x
        weights = self.cell_params(params)
        fields = split_state(state, len(self.state_sizes))
        zeros = np.zeros_like(rows, shape=(len(rows), H))
        before = cell.State(*[zeros if s is None else s.reshape(len(rows), H) for s in fields])
        u = cell.net_input(weights, rows)
        tape = cell.new_tape(u)
        after = before._make([np.empty_like(s) for s in before])
        cell.step(weights, u, before, tape, after, NUMPY)
        outer = x.shape[:-1]
        value = join_state(read_only(s).reshape(*outer, H) for s in after)
        return value, CellTape(weights, rows, before, tape, after, outer)

    def backward(self, tape: CellTape, d_state: Any) -> Grads:
        """Gradients of x, of the state before and of every parameter.

        `d_state` is like the state; it may be None, and so may either half of a pair.
        """
        arguments.check_cell_backward(self, tape, d_state)
        params, x, before, cell_tape, after, outer = tape
        total = before._make(
            [
                np.zeros_like(s) if d is None else np.array(d).reshape(s.shape)
                for s, d in zip(after, split_state(d_state, len(after)), strict=True)
            ]
        )
        delta = self.cell.new_delta(params, before, cell_tape)
        self.cell.step_back(params, before, cell_tape, after, total, delta)
        d_x, d_params = self.cell.gradients(params, x, before, cell_tape, after, delta)
        grads = {name: d for name, d in d_params._asdict().items() if d is not None}
        d_before = join_state(d.reshape(*outer, self.hidden_size) for d in total)
        return Grads(d_x.reshape(*outer, self.input_size), d_before, grads)


@dataclass(frozen=True)
class RecurrentCell(CellModule):
    """One step of any cell of the cell table: `RecurrentCell("LSTM_PEEPHOLE", 4, 6)`."""

    cell_name: str
    input_size: int
    hidden_size: int
    bias: bool = True

    @property
    def mode(self) -> str:
        """The name of the row."""
        return self.cell_name


@dataclass(frozen=True)
class RNNCell(CellModule):
    """One step of the simple recurrent net; see `cells.rnn`."""

    input_size: int
    hidden_size: int
    bias: bool = True
    nonlinearity: str = "tanh"

    @property
    def mode(self) -> str:
        """RNN_TANH or RNN_RELU, torch's names."""
        return f"RNN_{self.nonlinearity.upper()}"


@dataclass(frozen=True)
class GRUCell(CellModule):
    """One step of the gated recurrent unit; see `cells.gru`."""

    input_size: int
    hidden_size: int
    bias: bool = True
    mode = "GRU"


@dataclass(frozen=True)
class LSTMCell(CellModule):
    """One step of the LSTM; see `cells.lstm`."""

    input_size: int
    hidden_size: int
    bias: bool = True
    mode = "LSTM"
