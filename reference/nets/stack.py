"""Layers and directions: a whole net unrolled, and its adjoint.

x_0 is the input, y_{L−1} the output, p the probability of dropout. F is the width of h: P with a
projection, H without.

The stack, for layer k = 0 … L−1 and direction d = forward, reverse
    (1)  y_kd = unroll(cell_kd, x_k)              the reverse direction over reversed sequences
    (2)  y_k = [y_k,forward, y_k,reverse]         concatenated, not summed
    (3)  x_{k+1} = y_k ⊙ mask_k / (1 − p)         dropout between layers, not after the last

Adjoint
    (3′) δy_k = δx_{k+1} ⊙ mask_k / (1 − p)
    (2′) δy_k,forward, δy_k,reverse = the first F and the last F columns of δy_k
    (1′) δx_k = Σ_d unroll′(δy_kd)

Source: torch.nn.RNN, GRU, LSTM; Graves & Schmidhuber 2005 for two directions.
Page: docs/nets/modules.md
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..arithmetic import NUMPY, Arithmetic
from ..cells.table import CellState
from ..sequences.packing import PackedSequence
from ..sequences.unroll import Schedule, schedule, unroll, unroll_back
from ..sequences.unroll import Tape as UnrollTape
from . import arguments
from .layout import Layout, layout_of, read_only
from .net import Grads, Net, Params
from .state import OptionalState, State, final_state, initial_fields

Sequences = TypeVar("Sequences", bound=np.ndarray | PackedSequence)


class Tape(NamedTuple):
    """The values that `backward` reads."""

    layers: list[list[UnrollTape]]  # by layer and direction
    masks: list[np.ndarray]  # rows [N, D·F], scaled by 1 / (1 − p)
    rows: Schedule
    layout: Layout  # of x


def forward(
    net: Net,
    params: Params,
    x: Sequences,
    state: State | None = None,
    dropout_masks: Sequence[np.ndarray | PackedSequence] | None = None,
    arithmetic: Arithmetic = NUMPY,
) -> tuple[Sequences, Any, Tape]:
    """Output, final state and tape; shapes as in `modules`, all of one floating dtype.

    `state` is h_0, or (h_0, c_0) for a cell with a cell state; None means zeros. `dropout_masks`
    holds one mask of zeros and ones for each layer but the last, in the layout of `output`; None
    drops nothing. `arithmetic` evaluates the activations and sums the gradients. An invalid
    argument raises torch's exception class for the same mistake, before anything is computed; see
    `arguments`. The output is read-only, because the tape may hold the same memory: write into a
    copy of it.
    """
    arguments.check_forward(net, params, x, state, dropout_masks, arithmetic)
    layout = layout_of(x, net.batch_first)
    rows = schedule(layout.batch_sizes)
    y = layout.to_rows(x)
    initial = initial_fields(net, layout, y.dtype, state)
    scale = y.dtype.type(net.dropout_scale)
    masks = [layout.to_rows(mask) * scale for mask in dropout_masks or ()]
    layers: list[list[UnrollTape]] = []
    final: list[CellState] = []
    for layer in range(net.num_layers):
        tapes, outputs = [], []
        for suffix in net.suffixes(layer):
            reverse = suffix.endswith("_reverse")
            output, last, tape = unroll(  # (1)
                net.cell,
                net.cell_params(params, suffix),
                y[rows.reversal] if reverse else y,
                net.cell.State(*[field[len(final)] for field in initial]),
                rows,
                arithmetic,
            )
            outputs.append(output[rows.reversal] if reverse else output)
            tapes.append(tape)
            final.append(last)
        y = np.concatenate(outputs, axis=1) if net.bidirectional else outputs[0]  # (2)
        if masks and layer < net.num_layers - 1:
            y = y * masks[layer]  # (3)
        layers.append(tapes)
    y = layout.from_rows(read_only(y))
    return y, final_state(layout, final), Tape(layers, masks, rows, layout)


def backward(
    net: Net,
    tape: Tape,
    d_output: np.ndarray | PackedSequence | None = None,
    d_state: OptionalState = None,
) -> Grads:
    """Gradients of x, of the initial state and of every parameter.

    `d_output` has the layout of `output`, `d_state` that of the state. Either may be None, and so
    may either half of a pair (h, c): that cotangent is zero. Raises TypeError if a cotangent is not
    an array, or if `d_output` is not a PackedSequence although x is one, or the reverse;
    RuntimeError for another shape or dtype.
    """
    layout, rows, D, width = tape.layout, tape.rows, net.directions, net.output_size
    N, dtype = len(tape.layers[-1][0].x), tape.layers[-1][0].x.dtype
    arguments.check_backward(net, layout, dtype, d_output, d_state)
    d_y = np.zeros((N, D * width), dtype) if d_output is None else layout.to_rows(d_output)
    d_final = initial_fields(net, layout, dtype, d_state)
    d_initial: list[CellState] = []
    d_params: Params = {}
    for layer in reversed(range(net.num_layers)):
        if tape.masks and layer < net.num_layers - 1:
            d_y = d_y * tape.masks[layer]  # (3′)
        d_inputs: list[np.ndarray] = []
        for direction in reversed(range(D)):
            d_half = d_y[:, direction * width : (direction + 1) * width]  # (2′)
            d_in, d_h_0, d_cell = unroll_back(  # (1′)
                net.cell,
                tape.layers[layer][direction],
                d_half[rows.reversal] if direction else d_half,
                net.cell.State(*[d[layer * D + direction] for d in d_final]),
            )
            d_inputs.append(d_in[rows.reversal] if direction else d_in)
            d_initial.insert(0, d_h_0)
            suffix = net.suffixes(layer)[direction]
            d_named = {n + suffix: d for n, d in d_cell._asdict().items() if d is not None}
            d_params = d_named | d_params
        d_y = d_inputs[0] if D == 1 else d_inputs[0] + d_inputs[1]
    return Grads(layout.from_rows(d_y), final_state(layout, d_initial), d_params)
