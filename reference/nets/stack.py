"""Layers and directions: a whole net unrolled, and its adjoint.

The stack, for layer k = 0 … L−1 and direction d = forward, reverse
    (1)  y_kd = unroll(cell_kd, x_k)              the reverse one over reversed sequences
    (2)  y_k = [y_k,forward, y_k,reverse]         concatenated, not summed
    (3)  x_{k+1} = y_k ⊙ mask_k / (1 − p)         dropout between layers, never after the last

Adjoint
    (3′) δy_k = δx_{k+1} ⊙ mask_k / (1 − p)
    (2′) δy_k,forward, δy_k,reverse = δy_k
    (1′) δx_k = Σ_d unroll′(δy_kd)

Source: torch.nn.RNN, GRU, LSTM; Graves & Schmidhuber 2005 for two directions.
Page: docs/nets/modules.md
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arithmetic import NUMPY, Arithmetic
from ..sequences.packing import PackedSequence
from ..sequences.unroll import Schedule, schedule, unroll, unroll_back
from ..sequences.unroll import Tape as UnrollTape
from . import arguments
from .layout import Layout, layout_of, read_only
from .net import Grads, Net, Params
from .state import State, final_state, initial_fields


class Tape(NamedTuple):
    """What `backward` reads."""

    layers: list[list[UnrollTape]]  # by layer and direction
    masks: list[np.ndarray]  # rows [N, D·F], scaled by 1 / (1 − p)
    rows: Schedule
    layout: Layout  # of x


def forward(
    net: Net,
    params: Params,
    x: np.ndarray | PackedSequence,
    state: State | None = None,
    dropout_masks: Sequence[Any] | None = None,
    arithmetic: Arithmetic = NUMPY,
) -> tuple[Any, Any, Tape]:
    """Output, final state and tape.

    `state` is h_0, or (h_0, c_0) for a cell with a cell state; None is zero. `dropout_masks` holds
    one mask of zeros and ones for each layer but the last, in the layout of `output`; without it
    nothing is dropped. `arithmetic` evaluates the activations and sums the gradients. Raises what
    torch raises for the same mistake, before anything is computed. The output is read-only,
    because the tape may hold the same memory: write into a copy of it.
    """
    arguments.check_forward(net, params, x, state, dropout_masks, arithmetic)
    layout = layout_of(x, net.batch_first)
    rows = schedule(layout.batch_sizes)
    y = layout.to_rows(x)
    initial = initial_fields(net, layout, y.dtype, state)
    scale = y.dtype.type(net.dropout_scale)
    masks = [layout.to_rows(mask) * scale for mask in dropout_masks or ()]
    layers: list[list[UnrollTape]] = []
    final: list[Any] = []
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


def backward(net: Net, tape: Tape, d_output: Any = None, d_state: Any = None) -> Grads:
    """Gradients of x, of the initial state and of every parameter.

    `d_output` has the layout of `output`, `d_state` that of the state. Either may be None, and so
    may either half of a pair (h, c): that cotangent is zero.
    """
    arguments.check_backward(net, tape, d_output, d_state)
    layout, rows, D, width = tape.layout, tape.rows, net.directions, net.output_size
    last = tape.layers[-1][0]
    d_y: Any = (
        np.zeros((len(last.x), D * width), last.x.dtype)
        if d_output is None
        else layout.to_rows(d_output)
    )
    d_final = initial_fields(net, layout, last.x.dtype, d_state)
    d_initial: list[Any] = []
    d_params: Params = {}
    for layer in reversed(range(net.num_layers)):
        if tape.masks and layer < net.num_layers - 1:
            d_y = d_y * tape.masks[layer]  # (3′)
        d_x: Any = None
        for direction in reversed(range(D)):
            d_half = d_y[:, direction * width : (direction + 1) * width]  # (2′)
            d_in, d_h_0, d_cell = unroll_back(  # (1′)
                net.cell,
                tape.layers[layer][direction],
                d_half[rows.reversal] if direction else d_half,
                net.cell.State(*[d[layer * D + direction] for d in d_final]),
            )
            d_in = d_in[rows.reversal] if direction else d_in
            d_x = d_in if d_x is None else d_x + d_in
            d_initial.insert(0, d_h_0)
            suffix = net.suffixes(layer)[direction]
            named = {n + suffix: d for n, d in d_cell._asdict().items() if d is not None}
            d_params = named | d_params
        d_y = d_x
    return Grads(layout.from_rows(d_y), final_state(layout, d_initial), d_params)
