"""RNN, GRU and LSTM: torch.nn's arguments, parameter names and shapes.

    lstm = LSTM(input_size=4, hidden_size=6, num_layers=2, bidirectional=True)
    params = lstm.init(np.random.default_rng(0))
    output, (h_n, c_n), tape = lstm.forward(params, x)
    grads = lstm.backward(tape, d_output, (d_h_n, d_c_n))

    x       [T, B, I]; [B, T, I] with batch_first; [T, I] unbatched; or a PackedSequence
    output  the same layout with D·F features, in D directions
    state   h [L·D, B, F], an LSTM also c [L·D, B, H]; no B if unbatched; at layer·D + direction

The parameters of layer k and direction d, with G gates and F features of h (P or H)
    weight_ih [G·H, I], above the first layer [G·H, D·F]      weight_hh [G·H, F]
    bias_ih, bias_hh [G·H]                                    weight_hr [P, H]

Source: torch.nn.RNN, GRU, LSTM. The computation is in `reference.nets.stack`.
Page: docs/nets/modules.md
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from ..arithmetic import NUMPY, Arithmetic
from ..cells.lstm import State as Pair
from ..sequences.packing import PackedSequence
from . import construction, stack
from .net import Grads, Net, Params
from .state import OptionalState, State

StateT = TypeVar("StateT")  # the type of the state: an array h, or the pair (h, c)


class Recurrent(Net, Generic[StateT]):
    """The forward and backward pass of every net; see `stack` for the equations."""

    def __post_init__(self) -> None:
        construction.check_net(self)

    def forward(
        self,
        params: Params,
        x: stack.Sequences,
        state: State | None = None,
        dropout_masks: Sequence[np.ndarray | PackedSequence] | None = None,
        arithmetic: Arithmetic = NUMPY,
    ) -> tuple[stack.Sequences, StateT, stack.Tape]:
        """Output of the type of x, final state and tape; see `stack.forward`."""
        return stack.forward(self, params, x, state, dropout_masks, arithmetic)

    def backward(
        self,
        tape: stack.Tape,
        d_output: np.ndarray | PackedSequence | None = None,
        d_state: OptionalState = None,
    ) -> Grads:
        """Gradients of x, of the initial state and of every parameter; see `stack.backward`."""
        return stack.backward(self, tape, d_output, d_state)


Module = Recurrent[Any]  # a net of any cell


@dataclass(frozen=True)
class RNN(Recurrent[np.ndarray]):
    """h_t = φ(W_ih x_t + b_ih + W_hh h_{t−1} + b_hh), φ = tanh or relu; see `cells.rnn`."""

    input_size: int
    hidden_size: int
    num_layers: int = 1
    nonlinearity: str = "tanh"
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False
    proj_size: int | None = field(default=None, kw_only=True, repr=False)

    @property
    def mode(self) -> str:
        """RNN_TANH or RNN_RELU, torch's names."""
        return f"RNN_{self.nonlinearity.upper()}"


@dataclass(frozen=True)
class GRU(Recurrent[np.ndarray]):
    """The gated recurrent unit; see `cells.gru`."""

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False
    proj_size: int | None = field(default=None, kw_only=True, repr=False)
    mode = "GRU"


@dataclass(frozen=True)
class LSTM(Recurrent[Pair]):
    """Long short-term memory, with a projection of h if proj_size > 0; see `cells.lstm`."""

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False
    proj_size: int | None = 0
    mode = "LSTM"


@dataclass(frozen=True)
class RecurrentNet(Module):
    """A net of any cell of the cell table: `RecurrentNet("GRU_TEXTBOOK", 4, 6)`.

    `cell_name` is the name of the row. RNN, GRU and LSTM are the nets of torch.nn's cells.
    """

    cell_name: str
    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False
    proj_size: int | None = field(default=None, kw_only=True, repr=False)

    @property
    def mode(self) -> str:
        """The name of the row, `cell_name`."""
        return self.cell_name
