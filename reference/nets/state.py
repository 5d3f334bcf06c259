"""The state of a net as argument and result: h, or the pair (h, c) of a cell with a cell state.

    h  [L·D, B, F], c [L·D, B, H]     index layer·D + direction; no axis B where unbatched
    inside the net, for one layer and direction: the State of the cell, rows [n, ·]

All conversions between the two are in this file.

Page: docs/nets/modules.md
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..cells.lstm import State as Pair
from ..cells.table import CellState
from .layout import Layout
from .net import Net

State = np.ndarray | Sequence[np.ndarray]
OptionalState = State | Sequence[np.ndarray | None] | None  # None means zeros


def split_state(state: Any, count: int = 1) -> tuple[Any, ...]:
    """The arrays of a state, (h,) or (h, c); for None, a tuple of `count` times None."""
    if state is None:
        return (None,) * count
    return tuple(state) if isinstance(state, (tuple, list)) else (state,)


def join_state(fields: Iterable[Any]) -> Any:
    """The state with these arrays: h itself, or the pair (h, c) as a named tuple."""
    h, *c = fields
    return Pair(h, *c) if c else h


def initial_fields(
    net: Net, layout: Layout, dtype: np.dtype, state: OptionalState
) -> list[np.ndarray]:
    """The arrays [L·D, B, ·] of a state in the order of the rows; zeros for a field None."""
    depth, B = net.num_layers * net.directions, int(layout.batch_sizes[0])
    return [
        np.zeros((depth, B, size), dtype) if field is None else layout.state_to_rows(field)
        for size, field in zip(
            net.state_sizes, split_state(state, len(net.state_sizes)), strict=True
        )
    ]


def final_state(layout: Layout, states: Iterable[CellState]) -> Any:
    """The state that a net returns, from one State for each layer and direction, in order."""
    return join_state(
        layout.state_from_rows(np.array(field)) for field in zip(*states, strict=True)
    )
