"""Single-step cells: one step of a cell with torch.nn's arguments, parameter names and shapes.

    cell = LSTMCell(input_size=4, hidden_size=6)
    (h, c), tape = cell.forward(params, x, (h_before, c_before))
    grads = cell.backward(tape, (d_h, d_c))

    x  [B, I] or [I]      h, c  [B, H] or [H]

Source: torch.nn.RNNCell, GRUCell, LSTMCell.
Page: docs/nets/modules.md
"""

from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from ..arithmetic import NUMPY
from ..cells.fields import Fields, make
from ..cells.lstm import State as Pair
from ..cells.table import CellParams, CellState
from . import arguments, construction
from .layout import read_only
from .net import Configuration, Grads, Params
from .state import OptionalState, State, join_state, split_state


class CellTape(NamedTuple):
    """The values that `backward` reads."""

    params: CellParams
    x: np.ndarray  # [B, I]
    before: CellState
    tape: Fields  # of the cell
    after: CellState
    outer: tuple[int, ...]  # (B,), or () for x [I]


StateT = TypeVar("StateT")  # the type of the state: an array h, or the pair (h, c)


class RecurrentStep(Configuration, Generic[StateT]):
    """The forward and backward pass of one step of every cell."""

    def __post_init__(self) -> None:
        construction.check_cell(self)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter, in torch's order."""
        return self.cell.parameter_shapes(self.input_size, self.hidden_size, self.bias)

    def forward(
        self, params: Params, x: np.ndarray, state: State | None = None
    ) -> tuple[StateT, CellTape]:
        """The state after one step of x [B, I] or [I], and the tape.

        `state` is h [B, H], or (h, c) for the LSTM cell; None means zeros. An invalid argument
        raises torch's exception class for the same mistake; see `arguments`. The returned state is
        read-only, because the tape holds the same memory.
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
        after = make(before, [np.empty_like(s) for s in before])
        cell.step(weights, u, before, tape, after, NUMPY)
        outer = x.shape[:-1]
        value: StateT = join_state(read_only(s).reshape(*outer, H) for s in after)
        return value, CellTape(weights, rows, before, tape, after, outer)

    def backward(self, tape: CellTape, d_state: OptionalState) -> Grads:
        """Gradients of x, of the state before and of every parameter.

        `d_state` has the layout of the state; it may be None, and so may either half of a pair:
        that cotangent is zero. Raises TypeError for a cotangent that is not an array, RuntimeError
        for another shape or dtype.
        """
        params, x, before, cell_tape, after, outer = tape
        arguments.check_cell_backward(self, outer, x.dtype, d_state)
        cotangents = zip(after, split_state(d_state, len(after)), strict=True)
        total = make(
            before,
            [
                np.zeros_like(s) if d is None else np.array(d).reshape(s.shape)
                for s, d in cotangents
            ],
        )
        delta = self.cell.new_delta(params, before, cell_tape)
        self.cell.step_back(params, before, cell_tape, after, total, delta)
        d_x, d_params = self.cell.gradients(params, x, before, cell_tape, after, delta)
        grads = {name: d for name, d in d_params._asdict().items() if d is not None}
        d_before = join_state(d.reshape(*outer, self.hidden_size) for d in total)
        return Grads(d_x.reshape(*outer, self.input_size), d_before, grads)


CellModule = RecurrentStep[Any]  # one step of any cell


@dataclass(frozen=True)
class RecurrentCell(CellModule):
    """One step of any cell of the cell table: `RecurrentCell("LSTM_PEEPHOLE", 4, 6)`."""

    cell_name: str
    input_size: int
    hidden_size: int
    bias: bool = True

    @property
    def mode(self) -> str:
        """The name of the row, `cell_name`."""
        return self.cell_name


@dataclass(frozen=True)
class RNNCell(RecurrentStep[np.ndarray]):
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
class GRUCell(RecurrentStep[np.ndarray]):
    """One step of the gated recurrent unit; see `cells.gru`."""

    input_size: int
    hidden_size: int
    bias: bool = True
    mode = "GRU"


@dataclass(frozen=True)
class LSTMCell(RecurrentStep[Pair]):
    """One step of the LSTM; see `cells.lstm`."""

    input_size: int
    hidden_size: int
    bias: bool = True
    mode = "LSTM"
