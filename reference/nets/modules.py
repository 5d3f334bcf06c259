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

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..cells.table import EQUATIONS, Params, suffixes
from . import construction
from .stack import backward, forward


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


@dataclass(frozen=True)
class RNN:
    """h_t = φ(W_ih x_t + b_ih + W_hh h_{t−1} + b_hh), φ = tanh or relu; `cells.rnn`."""

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
        construction.of_net(self)

    parameter_shapes, init, forward, backward = parameter_shapes, init, forward, backward

    @property
    def mode(self) -> str:
        """Torch's name of the equations."""
        return f"RNN_{self.nonlinearity.upper()}"


@dataclass(frozen=True)
class GRU:
    """The gated recurrent unit; see `reference.cells.gru`."""

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False
    proj_size: int | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        construction.of_net(self)

    parameter_shapes, init, forward, backward = parameter_shapes, init, forward, backward
    mode = "GRU"


@dataclass(frozen=True)
class LSTM:
    """Long short-term memory, with a projection of h where proj_size > 0; `cells.lstm`."""

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False
    proj_size: int = 0

    def __post_init__(self) -> None:
        construction.of_net(self)

    parameter_shapes, init, forward, backward = parameter_shapes, init, forward, backward
    mode = "LSTM"
