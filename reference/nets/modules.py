"""RNN, GRU and LSTM: torch.nn's arguments, parameter names and shapes.

    lstm = LSTM(input_size=4, hidden_size=6, num_layers=2, bidirectional=True)
    params = lstm.init(np.random.default_rng(0))
    output, (h_n, c_n), tape = lstm.forward(params, x)
    grads = lstm.backward(tape, d_output, (d_h_n, d_c_n))

    x       [T, B, I]; [B, T, I] with batch_first; [T, I] unbatched; or a PackedSequence
    output  the same layout, with D·H features (D·P under a projection), D directions
    state   h [L·D, B, F], the LSTM's c [L·D, B, H]; without B unbatched; index layer·D + direction

The parameters of layer k and direction d, with G gates and F = P or else H features of h
    weight_ih [G·H, I], above the first layer [G·H, D·F]      weight_hh [G·H, F]
    bias_ih, bias_hh [G·H]                                    weight_hr [P, H]

Source: torch.nn.RNN, GRU, LSTM. The computation is in `reference.nets.stack`.
Page: docs/nets/modules.md
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arithmetic import NUMPY, Arithmetic
from ..sequences.packing import PackedSequence
from . import construction, stack
from .net import Grads, Net, Params
from .state import State


class Module(Net):
    """A net that computes; see `stack` for the equations."""

    def __post_init__(self) -> None:
        construction.check_net(self)

    def forward(
        self,
        params: Params,
        x: np.ndarray | PackedSequence,
        state: State | None = None,
        dropout_masks: Sequence[Any] | None = None,
        arithmetic: Arithmetic = NUMPY,
    ) -> tuple[Any, Any, stack.Tape]:
        """Output, final state and tape; see `stack.forward`."""
        return stack.forward(self, params, x, state, dropout_masks, arithmetic)

    def backward(self, tape: stack.Tape, d_output: Any = None, d_state: Any = None) -> Grads:
        """Gradients of x, of the initial state and of every parameter; see `stack.backward`."""
        return stack.backward(self, tape, d_output, d_state)


@dataclass(frozen=True)
class RNN(Module):
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
class GRU(Module):
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
class LSTM(Module):
    """Long short-term memory, with a projection of h where proj_size > 0; see `cells.lstm`."""

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
    """A net of any cell of the cell table, by the name of its row: `RecurrentNet("GRU_TEXTBOOK",
    4, 6)`. The cells that torch.nn has are RNN, GRU and LSTM."""

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
        """The name of the row."""
        return self.cell_name
