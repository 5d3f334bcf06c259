"""The fields of a row of the cell table, and the shapes of packed weights.

Page: docs/cells/table.md
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .fields import Fields

Shapes = dict[str, tuple[int, ...]]


class Cell(NamedTuple):
    """One cell: its equations as functions, and the properties in which cells differ.

    The functions are those of one file of this folder; read `lstm` as the example.
    """

    gates: tuple[str, ...]  # names, in the order of the rows of weight_ih and weight_hh
    torch: str  # the class of torch.nn with these equations; empty where there is none
    projection: bool  # True if h may be a projection of the gated cell
    Params: Any  # NamedTuple: the parameters of one layer and direction
    State: Any  # NamedTuple: the state between two steps, h first
    parameter_shapes: Callable[..., Shapes]  # (I, H, bias, P) → name and shape, in order
    net_input: Callable[..., np.ndarray]  # equation (1), for the rows of all steps
    new_tape: Callable[..., Fields]
    step: Callable[..., None]  # equations (2) to the last
    new_delta: Callable[..., Fields]
    step_back: Callable[..., None]  # the primed equations down to (2′)
    gradients: Callable[..., tuple[np.ndarray, Any]]  # equation (1′), all steps
    read_gates: Callable[..., Any]  # (params, x, *State) → the gates of one step


def packed_shapes(gates: int, inputs: int, hidden: int, bias: bool, projected: int = 0) -> Shapes:
    """Shapes of weights whose rows are packed gate by gate, as torch.nn packs them.

    weight_ih [G·H, I], weight_hh [G·H, P or H], bias_ih and bias_hh [G·H], weight_hr [P, H].
    """
    shapes: Shapes = {
        "weight_ih": (gates * hidden, inputs),
        "weight_hh": (gates * hidden, projected or hidden),
    }
    if bias:
        shapes |= {"bias_ih": (gates * hidden,), "bias_hh": (gates * hidden,)}
    return shapes | ({"weight_hr": (projected, hidden)} if projected else {})
