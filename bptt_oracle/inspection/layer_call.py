"""One call of one layer of a recurrent module, as arrays.

    N     rows: step by step, only those that a packed batch has; N = T·B if it is not packed
    D, F  directions; features of h in one direction

Page: docs/inspection/norms.md
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from reference.cells.cell import Cell
from reference.cells.table import CELL_TABLE, CellParams

Value = TypeVar("Value")


@dataclass
class LayerCall:
    """One call of one layer: its values, and after backward its gradients; see `array_of`."""

    module: str  # the name in the model
    number: int  # which call of the module since recording began
    layer: int
    mode: str  # RNN_TANH, RNN_RELU, GRU or LSTM
    is_cell: bool  # an nn.RNNCell, GRUCell or LSTMCell: one step
    params: list[CellParams]  # by direction
    batch_sizes: np.ndarray  # [T]
    order: np.ndarray | None  # [B] the caller's row of each row; None if they are the same
    x: np.ndarray  # [N, I]
    initial: list[np.ndarray]  # h_0 [D, B, F], of an LSTM also c_0 [D, B, H]
    output: np.ndarray  # [N, D·F]
    final: list[np.ndarray]  # h_n, c_n, shaped like `initial`
    dtype: torch.dtype  # that torch computed in
    attached: bool  # whether a gradient flows on into the initial state
    device: str  # of the module: cpu, cuda, mps
    product_dtype: str  # in which autocast computes products; empty without autocast
    kernel: str = ""  # in the graph of the output, if gradients are recorded
    cotangents: dict[str, np.ndarray] = field(default_factory=dict)  # of output, h_n, c_n
    gradients: dict[str, np.ndarray] = field(default_factory=dict)  # of x, h_0, c_0 parameters

    @property
    def cell(self) -> Cell:
        """The equations of one step."""
        return CELL_TABLE[self.mode]

    @property
    def directions(self) -> int:
        """D, 1 or 2."""
        return len(self.params)

    def half(self, rows: np.ndarray, direction: int) -> np.ndarray:
        """The columns [N, F] of one direction, of the output or its gradient [N, D·F]."""
        width = rows.shape[1] // self.directions
        return rows[:, direction * width : (direction + 1) * width]


def array_of(value: Tensor, dtype: torch.dtype) -> np.ndarray:
    """A copy of the values as a computation in `dtype` reads them, in float64 if that is float64,
    otherwise in float32."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    array: np.ndarray = value.detach().to(dtype).to("cpu", wide, copy=True).numpy()
    return array


def by_parameter(by_direction: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
    """The weights of one layer by torch's names for a net of that layer alone."""
    ends = ("_l0", "_l0_reverse")
    return {
        name + end: value
        for end, named in zip(ends, by_direction, strict=False)
        for name, value in named.items()
    }
