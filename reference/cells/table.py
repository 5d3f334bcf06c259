"""The cell table: one row for each cell, with everything in which cells differ.

To add a cell, write a file in this folder with the functions of `lstm`, and one row here. Nets,
packing, directions, checkpoints and the judge read the row. Names and gate orders are torch.nn's
if torch.nn has the cell.

Page: docs/cells/table.md
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from . import gates, gru, gru_textbook, lstm, lstm_peephole, rnn
from .cell import Cell

CellParams = rnn.Params | gru.Params | lstm.Params | lstm_peephole.Params
CellState = rnn.State | gru.State | lstm.State


def _row(
    equations: ModuleType,
    gates: tuple[str, ...],
    torch: str,
    read_gates: Callable[..., Any],
    **options: Any,
) -> Cell:
    """The row of the cell in the file `equations`, whose functions are taken by name.

    `torch` is the name of the class in torch.nn, empty where there is none. `options` replaces
    fields of the row.
    """
    row: dict[str, Any] = {name: getattr(equations, name, None) for name in Cell._fields}
    row |= {"gates": gates, "torch": torch, "read_gates": read_gates, "projection": False}
    return Cell(**(row | options))


TANH = {"step": rnn.step_tanh, "step_back": rnn.step_back_tanh}
RELU = {"step": rnn.step_relu, "step_back": rnn.step_back_relu}

CELL_TABLE: dict[str, Cell] = {
    "RNN_TANH": _row(rnn, ("a",), "RNN", gates.rnn, **TANH),
    "RNN_RELU": _row(rnn, ("a",), "RNN", gates.rnn, **RELU),
    "GRU": _row(gru, ("r", "z", "n"), "GRU", gates.gru),
    "LSTM": _row(lstm, ("i", "f", "g", "o"), "LSTM", gates.lstm, projection=True),
    "GRU_TEXTBOOK": _row(gru_textbook, ("r", "z", "n"), "", gru_textbook.read_gates),
    "LSTM_PEEPHOLE": _row(lstm_peephole, ("i", "f", "g", "o"), "", lstm_peephole.read_gates),
}


class HasMode(Protocol):
    """A net or a single-step cell; `mode` is the name of its row."""

    @property
    def mode(self) -> str: ...


def read_gates(net: HasMode, params: CellParams, x: np.ndarray, before: CellState) -> Any:
    """The gates [n, H] of one step, unpacked, from x [n, I] and the state before the step.

    Returns the named tuple RNN, GRU or LSTM of `cells.gates`.
    """
    return CELL_TABLE[net.mode].read_gates(params, x, *before)
