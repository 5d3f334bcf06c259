"""The adjoint differentiated in forward mode: gradients and Hessian-vector products.

    g(θ) = ∂L/∂θ  the gradient           ġ = (∂²L/∂θ²) v  its derivative when θ moves along v

`net.backward` turns cotangents into gradients; here both are pairs (v, v̇). The cotangent of the
output moves because the output moves:

    ȳ = ∂L/∂y,   ȳ˙ = (∂²L/∂y²) ẏ                                 from the caller's loss
    (3′) δy_k, δẏ_k = δx_{k+1} ⊙ mask_k / (1 − p)                 and dotted
    (2′) δy_k,forward, δy_k,reverse = δy_k                        and dotted
    (1′) δx_k = Σ_d unroll′(δy_kd)                                cell by cell, `tangent_rnn` …

One forward and one backward pass, for any number of parameters; the Hessian is never formed.

Source: Pearlmutter 1994; Møller 1993; Martens & Sutskever 2011 for recurrent nets.
Page: docs/derivatives/second_order.md
"""

from collections.abc import Sequence
from functools import reduce
from operator import getitem
from typing import Any

import numpy as np

from ..cells.fields import add, rows_of
from ..cells.table import CellParams, CellState
from ..nets import arguments
from ..nets.net import Grads, Net
from ..nets.state import State
from ..sequences.packing import PackedSequence
from ..sequences.unroll import Schedule
from .dual import Dual, check_duals, map_dual, pick
from .tangent import CELLS, Cell, Tape, stack_states, unstack_states, unzip, write


def backward(
    net: Net, tape: Tape, d_output: Dual[np.ndarray | PackedSequence], d_state: Dual[State]
) -> Dual[Grads]:
    """The Grads of `net.backward`, and the derivative of each gradient along the direction.

    `tape` comes from `tangent.forward`. Both cotangents are Duals; pass zeros where the loss does
    not depend on the output or the state. Raises TypeError for a cotangent that is not a Dual or
    has None in it, and for either half of a pair the errors of `net.backward`.
    """
    check_duals(d_output=d_output, d_state=d_state)
    layout, rows = tape.layout, tape.rows
    dtype = tape.steps[0][0].x.value.dtype
    map_dual(arguments.check_d_output, net, layout, dtype, d_output)
    map_dual(arguments.check_d_state, net, layout, dtype, d_state)
    D, P = net.directions, net.output_size
    d_y = map_dual(layout.to_rows, d_output)
    d_final = unstack_states(net, layout, d_state)
    d_initial = list(d_final)
    gradients: dict[str, Dual[np.ndarray]] = {}
    for layer in reversed(range(net.num_layers)):
        if tape.masks and layer < net.num_layers - 1:
            d_y = map_dual(np.multiply, d_y, tape.masks[layer])  # (3′)
        d_x: Dual[Any] = Dual(0, 0)
        for direction, suffix in enumerate(net.suffixes(layer)):
            index = layer * D + direction
            order = rows.reversal if direction else slice(None)
            half = np.s_[:, direction * P : (direction + 1) * P]
            d_in, d_initial[index], d_params = unroll_back(  # (1′)
                CELLS[net.mode],
                map_dual(net.cell_params, tape.params, suffix),
                tape.steps[index],
                map_dual(getitem, map_dual(getitem, d_y, half), order),  # (2′)
                d_final[index],
                rows,
            )
            d_x = map_dual(np.add, d_x, map_dual(getitem, d_in, order))
            for name in d_params.value._fields:
                gradient = pick(d_params, name)
                if gradient is not None:
                    gradients[name + suffix] = gradient
        d_y = d_x
    in_order = {name: gradients[name] for name in net.parameter_shapes()}
    d_params = Dual(*[{name: pair[i] for name, pair in in_order.items()} for i in (0, 1)])
    return map_dual(
        Grads, map_dual(layout.from_rows, d_y), stack_states(layout, d_initial), d_params
    )


def unroll_back(
    cell: Cell,
    params: Dual[CellParams],
    tapes: Sequence[Any],
    d_output: Dual[np.ndarray],
    d_state: Dual[CellState],
    rows: Schedule,
) -> tuple[Dual[np.ndarray], Dual[CellState], Dual[Any]]:
    """δx [N, I], δ of the initial state and of every parameter, each a Dual."""
    total = map_dual(_copy, d_state)
    d_x: list[Dual[np.ndarray]] = []
    d_params: list[Dual[Any]] = []
    for step_rows, tape in zip(reversed(rows.steps), reversed(tapes), strict=True):
        alive = slice(step_rows.stop - step_rows.start)
        delta = map_dual(
            _add_output, map_dual(rows_of, total, alive), map_dual(getitem, d_output, step_rows)
        )
        d_x_t, before, d_params_t = cell.step_back(params, tape, delta)
        map_dual(write, total, alive, before)
        d_x.insert(0, d_x_t)
        d_params.append(d_params_t)
    return (
        map_dual(np.concatenate, unzip(d_x)),
        total,
        map_dual(reduce, add, unzip(d_params)),
    )


def _copy(state: Any) -> Any:
    return state._make([field.copy() for field in state])


def _add_output(delta: Any, d_output: np.ndarray) -> Any:
    """δ of the state after a step, plus the cotangent of the output of that step."""
    return delta._replace(h=delta.h + d_output)
