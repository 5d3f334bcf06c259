"""What the nets are made of: each cell's functions and tuples, and how its arrays are named.

Source: torch.nn.RNN, GRU, LSTM for names and gate orders.
Page: docs/nets/modules.md
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..sequences.unroll import Cell
from . import gru, lstm, rnn

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


class Grads(NamedTuple):
    """The gradients, each in the layout of what it belongs to."""

    x: Any
    state: Any
    params: Params


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
