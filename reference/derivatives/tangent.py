"""Forward mode: how output and final state move while every input moves along a direction.

    net.forward(params, x, state)  →  output, state           each of them now a pair (v, v̇), `dual`

A tangent needs no tape and runs with time: its cost is that of a forward pass whatever T, and one
direction is all it sees. Cells are dotted line by line in `tangent_rnn`, `tangent_gru` and
`tangent_lstm`; time, layers and directions are linear in what they pass on, so their tangents are
the forward equations themselves:

    (1)  h_t, ḣ_t = cell(x_t, ẋ_t, h_{t−1}, ḣ_{t−1})              over packed rows, as in `unroll`
    (2)  y_k = [y_k,forward, y_k,reverse]                         and dotted
    (3)  x_{k+1} = y_k ⊙ mask_k / (1 − p)                         and dotted

The tape returned is for `second_order`, which runs back over it.

Source: Williams & Zipser 1989; Griewank & Walther, Evaluating Derivatives, ch. 3.
Page: docs/derivatives/tangent.md
"""

from collections.abc import Callable, Sequence
from operator import getitem
from typing import Any, NamedTuple

import numpy as np

from ..cells.fields import rows_of
from ..nets import arguments
from ..nets.layout import Layout, layout_of
from ..nets.state import final_state, initial_fields, split_state
from ..sequences.unroll import Schedule, schedule
from . import tangent_gru, tangent_lstm, tangent_rnn
from .dual import Dual, both, part, refuse_plain


class Cell(NamedTuple):
    """One cell to second order."""

    step: Callable[..., tuple[Dual, Any]]
    step_back: Callable[..., tuple[Dual, Dual, Dual]]


CELLS = {
    "RNN_TANH": Cell(tangent_rnn.step_tanh, tangent_rnn.step_back),
    "RNN_RELU": Cell(tangent_rnn.step_relu, tangent_rnn.step_back),
    "GRU": Cell(tangent_gru.step, tangent_gru.step_back),
    "LSTM": Cell(tangent_lstm.step, tangent_lstm.step_back),
}


class Tape(NamedTuple):
    """What `second_order.backward` reads: the tapes of all steps, by layer and direction."""

    params: Dual
    steps: list[list[Any]]
    masks: list[np.ndarray]
    rows: Schedule
    layout: Layout


def forward(
    net: Any,
    params: Dual,
    x: Dual,
    state: Dual | None = None,
    dropout_masks: Sequence[Any] | None = None,
) -> tuple[Dual, Dual, Tape]:
    """Output, final state and tape; arguments as in `net.forward`, but in pairs.

    The derivative of what shall stay fixed is zero. Layouts, dtypes and dropout are the facade's,
    and so are the errors raised, for either half of a pair; RuntimeError where the two halves of x
    differ in shape, dtype or packing, TypeError for what is no pair.
    """
    refuse_plain(params=params, x=x, **({} if state is None else {"state": state}))
    both(arguments.check_forward, net, params, x, state, dropout_masks)
    layout = layout_of(x.value, net.batch_first)
    _check_direction(net, layout, x)
    rows = schedule(layout.batch_sizes)
    y = both(layout.to_rows, x)
    initial = _initial_state(net, layout, y.value, state)
    scale = y.value.dtype.type(net.dropout_scale)
    masks = [layout.to_rows(mask) * scale for mask in dropout_masks or ()]
    tapes: list[list[Any]] = []
    final: list[Dual] = []
    for layer in range(net.num_layers):
        outputs = []
        for suffix in net.suffixes(layer):
            order = rows.reversal if suffix.endswith("_reverse") else slice(None)
            output, last, steps = unroll(  # (1)
                CELLS[net.mode],
                both(net.cell_params, params, suffix),
                both(getitem, y, order),
                initial[len(final)],
                rows,
            )
            outputs.append(both(getitem, output, order))
            tapes.append(steps)
            final.append(last)
        y = both(np.hstack, pair_of_lists(outputs))  # (2)
        if masks and layer < net.num_layers - 1:
            y = both(np.multiply, y, masks[layer])  # (3)
    tape = Tape(params, tapes, masks, rows, layout)
    return both(layout.from_rows, y), to_facade(net, layout, final), tape


def unroll(
    cell: Cell, params: Dual, x: Dual, state: Dual, rows: Schedule
) -> tuple[Dual, Dual, list[Any]]:
    """Output [N, H] and the state after every sequence's last step, in pairs; a tape per step."""
    B = len(state.value.h)
    history = both(_with_room, state, len(x.value))
    written = both(rows_of, history, slice(B, None))
    before, tapes = state, []
    for now in rows.steps:
        alive = both(rows_of, before, slice(now.stop - now.start))
        before, tape = cell.step(params, both(getitem, x, now), alive)
        both(write, written, now, before)
        tapes.append(tape)
    return part(written, "h"), both(rows_of, history, rows.last), tapes


def write(fields: Any, rows: slice, new: Any) -> None:
    """Overwrite the rows of every field."""
    for field, value in zip(fields, new, strict=True):
        field[rows] = value


def pair_of_lists(pairs: Sequence[Dual]) -> Dual:
    """A list of pairs as a pair of lists."""
    return Dual([p.value for p in pairs], [p.dot for p in pairs])


def to_facade(net: Any, layout: Layout, states: Sequence[Dual]) -> Dual:
    """States of all layers and directions, stacked and named as the facade does."""
    return both(_stacked, net, layout, pair_of_lists(states))


def from_facade(net: Any, layout: Layout, state: Dual) -> list[Dual]:
    """A state as the facade speaks of it, as a State for each layer and direction, in pairs."""
    values, dots = both(_unstacked, net, layout, state)
    return [Dual(*halves) for halves in zip(values, dots, strict=True)]


def _stacked(net: Any, layout: Layout, states: list[Any]) -> Any:
    return final_state(layout, states)


def _unstacked(net: Any, layout: Layout, state: Any) -> list[Any]:
    fields = [layout.state_to_rows(field) for field in split_state(state)]
    return [net.cell.State(*s) for s in zip(*fields, strict=True)]


def _with_room(state: Any, rows: int) -> Any:
    """The state's fields, followed by this many rows for the steps to come."""
    return state._make(
        [np.concatenate([f, np.zeros_like(f, shape=(rows, f.shape[1]))]) for f in state]
    )


def _check_direction(net: Any, layout: Layout, x: Dual) -> None:
    """Refuse an x whose derivative does not lie as its value does."""
    dtype = layout.to_rows(x.value).dtype
    rows = arguments.rows_of_layout("ẋ", x.dot, layout)
    arguments.check_like("ẋ", rows, layout.shape(net.input_size), dtype, "as of x", TypeError)


def _initial_state(net: Any, layout: Layout, like: np.ndarray, state: Dual | None) -> list[Dual]:
    """A State for each layer and direction, in pairs; zeros where none is given."""
    if state is not None:
        return from_facade(net, layout, state)
    fields = initial_fields(net, layout, like.dtype, None)
    zeros = [net.cell.State(*s) for s in zip(*fields, strict=True)]
    return [Dual(z, z) for z in zeros]
