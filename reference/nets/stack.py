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

from ..cells.table import EQUATIONS, Grads, Params, as_tuple, cell_params, from_tuple, suffixes
from ..sequences.packing import PackedSequence
from ..sequences.unroll import Schedule, schedule, unroll, unroll_back
from ..sequences.unroll import Tape as UnrollTape
from . import arguments
from .layout import Layout, layout_of, read_only


class Tape(NamedTuple):
    """What `backward` reads: one tape per layer and direction, the scaled masks, x's layout."""

    layers: list[list[UnrollTape]]
    masks: list[np.ndarray]
    rows: Schedule
    layout: Layout


def forward(
    net: Any,
    params: Params,
    x: np.ndarray | PackedSequence,
    state: Any = None,
    dropout_masks: Sequence[Any] | None = None,
) -> tuple[Any, Any, Tape]:
    """Output, final state and tape.

    `state` is h_0, for the LSTM (h_0, c_0); zeros when not given. `dropout_masks` holds one mask
    of zeros and ones for each layer but the last, in the layout of `output`; without it nothing
    is dropped. Raises what torch raises for the same mistake, before anything is computed. The
    output is read-only, for the tape may hold the same memory: write into a copy of it.
    """
    arguments.forward(net, params, x, state, dropout_masks)
    equations = EQUATIONS[net.mode]
    layout = layout_of(x, net.batch_first)
    rows = schedule(layout.batch_sizes)
    y = layout.to_rows(x)
    initial = equations.state(
        *_initial_state(net, layout, y, None if state is None else as_tuple(net, state))
    )
    kept = 1 / (1 - net.dropout) if net.dropout < 1 else 0
    masks = [layout.to_rows(mask) * y.dtype.type(kept) for mask in dropout_masks or ()]
    layers: list[list[UnrollTape]] = []
    final: list[Any] = []
    for layer in range(net.num_layers):
        tapes, outputs = [], []
        for suffix in suffixes(net, layer):
            reverse = suffix.endswith("_reverse")
            output, last, tape = unroll(  # (1)
                equations.cell,
                cell_params(net, params, suffix),
                y[rows.reversal] if reverse else y,
                initial._make([s[len(final)] for s in initial]),
                rows,
            )
            outputs.append(output[rows.reversal] if reverse else output)
            tapes.append(tape)
            final.append(last)
        y = np.concatenate(outputs, axis=1) if net.bidirectional else outputs[0]  # (2)
        if masks and layer < net.num_layers - 1:
            y = y * masks[layer]  # (3)
        layers.append(tapes)
    h_n = [layout.state_from_rows(np.array(s)) for s in zip(*final, strict=True)]
    return layout.from_rows(read_only(y)), from_tuple(net, h_n), Tape(layers, masks, rows, layout)


def backward(net: Any, tape: Tape, d_output: Any = None, d_state: Any = None) -> Grads:
    """Gradients of x, of the initial state and of every parameter.

    `d_output` has the layout of `output`, `d_state` that of the state; either may be None, and so
    may either half of an LSTM's: that cotangent is zero.
    """
    arguments.backward(net, tape, d_output, d_state)
    equations = EQUATIONS[net.mode]
    layout, rows = tape.layout, tape.rows
    last = tape.layers[-1][0]
    N, width = len(last.x), last.history.h.shape[1]
    D = 1 + net.bidirectional
    d_y: Any = (
        np.zeros((N, D * width), last.x.dtype) if d_output is None else layout.to_rows(d_output)
    )
    d_final = _initial_state(net, layout, last.x, as_tuple(net, d_state))
    d_initial: list[Any] = []
    grads: Params = {}
    for layer in reversed(range(net.num_layers)):
        if tape.masks and layer < net.num_layers - 1:
            d_y = d_y * tape.masks[layer]  # (3′)
        d_x: Any = None
        for direction in reversed(range(D)):
            suffix = suffixes(net, layer)[direction]
            d_half = d_y[:, direction * width : (direction + 1) * width]  # (2′)
            d_h_n = equations.state(*[d[layer * D + direction] for d in d_final])
            d_in, d_h_0, d_params = unroll_back(  # (1′)
                equations.cell,
                tape.layers[layer][direction],
                d_half[rows.reversal] if direction else d_half,
                d_h_n,
            )
            d_in = d_in[rows.reversal] if direction else d_in
            d_x = d_in if d_x is None else d_x + d_in
            d_initial.insert(0, d_h_0)
            of_layer = {n + suffix: d for n, d in d_params._asdict().items() if d is not None}
            grads = of_layer | grads
        d_y = d_x
    d_h_0 = [layout.state_from_rows(np.array(s)) for s in zip(*d_initial, strict=True)]
    return Grads(layout.from_rows(d_y), from_tuple(net, d_h_0), grads)


def _initial_state(
    net: Any, layout: Layout, like: np.ndarray, state: Sequence[Any] | None
) -> list[np.ndarray]:
    """The state's arrays [L·D, B, ·] in the order of the rows, zeros for those not given."""
    L = net.num_layers * (1 + net.bidirectional)
    B = int(layout.batch_sizes[0])
    widths = [net.proj_size or net.hidden_size, net.hidden_size][: 1 + (net.mode == "LSTM")]
    return [
        np.zeros((L, B, width), like.dtype) if s is None else layout.state_to_rows(s)
        for width, s in zip(widths, state or (None, None), strict=False)
    ]
