"""Forward mode: the derivative of output and final state when every input moves along a direction.

    net.forward(params, x, state)  →  output, state           each of them a pair (v, v̇), see `dual`

Forward mode needs no tape and runs in the order of time. It costs as much as a forward pass for
every T, and gives the derivative along one direction only. The cells are differentiated line by
line in `tangent_rnn`, `tangent_gru` and `tangent_lstm`; time, layers and directions are linear in
the values they pass on, so their tangents are the forward equations themselves:

    (1)  h_t, ḣ_t = cell(x_t, ẋ_t, h_{t−1}, ḣ_{t−1})              over packed rows, as in `unroll`
    (2)  y_k = [y_k,forward, y_k,reverse]                         and dotted
    (3)  x_{k+1} = y_k ⊙ mask_k / (1 − p)                         and dotted

The tape returned is for `second_order`, which runs backward over it.

Source: Williams & Zipser 1989; Griewank & Walther, Evaluating Derivatives, ch. 3.
Page: docs/derivatives/tangent.md
"""

from collections.abc import Callable, Sequence
from operator import getitem
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..arithmetic import NUMPY, Arithmetic
from ..cells.fields import rows_of
from ..cells.table import CellParams, CellState
from ..nets import arguments
from ..nets.layout import Layout, layout_of
from ..nets.net import Net
from ..nets.state import State, final_state, initial_fields, split_state
from ..sequences.packing import PackedSequence
from ..sequences.unroll import Schedule, schedule
from . import tangent_gru, tangent_lstm, tangent_rnn
from .dual import Dual, check_duals, map_dual, pick

T = TypeVar("T")


class Cell(NamedTuple):
    """One cell to second order."""

    step: Callable[..., tuple[Dual[Any], Any]]
    step_back: Callable[..., tuple[Dual[np.ndarray], Dual[Any], Dual[Any]]]


CELLS = {
    "RNN_TANH": Cell(tangent_rnn.step_tanh, tangent_rnn.step_back),
    "RNN_RELU": Cell(tangent_rnn.step_relu, tangent_rnn.step_back),
    "GRU": Cell(tangent_gru.step, tangent_gru.step_back),
    "LSTM": Cell(tangent_lstm.step, tangent_lstm.step_back),
}


class Tape(NamedTuple):
    """The values that `second_order.backward` reads; `steps` by layer and direction."""

    params: Dual[dict[str, np.ndarray]]
    steps: list[list[Any]]
    masks: list[np.ndarray]
    rows: Schedule
    layout: Layout


def forward(
    net: Net,
    params: Dual[dict[str, np.ndarray]],
    x: Dual[np.ndarray | PackedSequence],
    state: Dual[State] | None = None,
    dropout_masks: Sequence[np.ndarray | PackedSequence] | None = None,
    arithmetic: Arithmetic = NUMPY,
) -> tuple[Dual[Any], Dual[Any], Tape]:
    """Output, final state and tape; arguments as in `net.forward`, each a Dual.

    A constant has zeros as its derivative. Layouts, dtypes and dropout are those of `net.forward`,
    and so are the errors raised, for either half of a pair. Also raises RuntimeError if the two
    halves of x differ in shape, dtype or packing, TypeError for an argument that is not a Dual, and
    ValueError for a cell without a derived tangent.
    """
    if net.mode not in CELLS:
        raise ValueError(
            f"Expected a cell with a derived tangent, {', '.join(CELLS)}, got {net.mode}."
        )
    check_duals(params=params, x=x, **({} if state is None else {"state": state}))
    map_dual(arguments.check_forward, net, params, x, state, dropout_masks)
    layout = layout_of(x.value, net.batch_first)
    _check_direction(net, layout, x)
    rows = schedule(layout.batch_sizes)
    y = map_dual(layout.to_rows, x)
    initial = _initial_state(net, layout, y.value, state)
    scale = y.value.dtype.type(net.dropout_scale)
    masks = [layout.to_rows(mask) * scale for mask in dropout_masks or ()]
    tapes: list[list[Any]] = []
    final: list[Dual[CellState]] = []
    for layer in range(net.num_layers):
        outputs = []
        for suffix in net.suffixes(layer):
            order = rows.reversal if suffix.endswith("_reverse") else slice(None)
            output, last, steps = unroll(  # (1)
                CELLS[net.mode],
                map_dual(net.cell_params, params, suffix),
                map_dual(getitem, y, order),
                initial[len(final)],
                rows,
                arithmetic,
            )
            outputs.append(map_dual(getitem, output, order))
            tapes.append(steps)
            final.append(last)
        y = map_dual(np.hstack, unzip(outputs))  # (2)
        if masks and layer < net.num_layers - 1:
            y = map_dual(np.multiply, y, masks[layer])  # (3)
    tape = Tape(params, tapes, masks, rows, layout)
    return map_dual(layout.from_rows, y), stack_states(layout, final), tape


def unroll(
    cell: Cell,
    params: Dual[CellParams],
    x: Dual[np.ndarray],
    state: Dual[CellState],
    rows: Schedule,
    arithmetic: Arithmetic = NUMPY,
) -> tuple[Dual[np.ndarray], Dual[CellState], list[Any]]:
    """Output [N, H] and each sequence's state after its last step, as Duals; one tape per step."""
    B = len(state.value.h)
    history = map_dual(_extend, state, len(x.value))
    after = map_dual(rows_of, history, slice(B, None))
    before, tapes = state, []
    for step_rows in rows.steps:
        alive = map_dual(rows_of, before, slice(step_rows.stop - step_rows.start))
        before, tape = cell.step(params, map_dual(getitem, x, step_rows), alive, arithmetic)
        map_dual(write, after, step_rows, before)
        tapes.append(tape)
    return pick(after, "h"), map_dual(rows_of, history, rows.last), tapes


def write(fields: CellState, rows: slice, new: CellState) -> None:
    """Overwrite the rows of every field."""
    for field, value in zip(fields, new, strict=True):
        field[rows] = value


def unzip(pairs: Sequence[Dual[T]]) -> Dual[list[T]]:
    """Turn a list of pairs into a pair of lists."""
    return Dual([p.value for p in pairs], [p.dot for p in pairs])


def stack_states(layout: Layout, states: Sequence[Dual[CellState]]) -> Dual[Any]:
    """The state [L·D, B, ·] of `net.forward` from a State for each layer and direction."""
    return map_dual(final_state, layout, unzip(states))


def unstack_states(net: Net, layout: Layout, state: Dual[State]) -> list[Dual[CellState]]:
    """A State for each layer and direction from the state [L·D, B, ·] of `net.forward`."""
    values, dots = map_dual(_unstack, net, layout, state)
    return [Dual(*halves) for halves in zip(values, dots, strict=True)]


def _unstack(net: Net, layout: Layout, state: State) -> list[CellState]:
    fields = [layout.state_to_rows(field) for field in split_state(state)]
    return [net.cell.State(*s) for s in zip(*fields, strict=True)]


def _extend(state: Any, rows: int) -> Any:
    """The state's fields, with this many rows of zeros appended for the steps to come."""
    return state._make(
        [np.concatenate([f, np.zeros_like(f, shape=(rows, f.shape[1]))]) for f in state]
    )


def _check_direction(net: Net, layout: Layout, x: Dual[np.ndarray | PackedSequence]) -> None:
    """Reject an x whose derivative differs from its value in shape, dtype or packing."""
    dtype = layout.to_rows(x.value).dtype
    rows = arguments.rows_of_layout("ẋ", x.dot, layout)
    arguments.check_like("ẋ", rows, layout.shape(net.input_size), dtype, "as of x", TypeError)


def _initial_state(
    net: Net, layout: Layout, x_rows: np.ndarray, state: Dual[State] | None
) -> list[Dual[CellState]]:
    """A State for each layer and direction, as Duals; zeros if `state` is None."""
    if state is not None:
        return unstack_states(net, layout, state)
    fields = initial_fields(net, layout, x_rows.dtype, None)
    zeros = [net.cell.State(*s) for s in zip(*fields, strict=True)]
    return [Dual(z, z) for z in zeros]
