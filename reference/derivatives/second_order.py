"""The adjoint differentiated in forward mode: gradients, and Hessian-vector products.

    g(θ) = ∂L/∂θ  the gradient           ġ = (∂²L/∂θ²) v  its derivative while θ moves along v

`net.backward` turns cotangents into gradients; here both come in pairs (v, v̇). The cotangent of
the output moves because the output moves:

    ȳ = ∂L/∂y,   ȳ˙ = (∂²L/∂y²) ẏ                                 the caller's loss
    (3′) δy_k, δẏ_k = δx_{k+1} ⊙ mask_k / (1 − p)                 and dotted
    (2′) δy_k,forward, δy_k,reverse = δy_k                        and dotted
    (1′) δx_k = Σ_d unroll′(δy_kd)                                cell by cell, `tangent_rnn` …

One forward and one backward pass, whatever the number of parameters: no Hessian is formed.

Source: Pearlmutter 1994; Møller 1993; Martens & Sutskever 2011 for recurrent nets.
Page: docs/derivatives/second_order.md
"""

from collections.abc import Sequence
from functools import reduce
from operator import getitem
from typing import Any

import numpy as np

from ..cells.fields import add, rows_of
from ..nets import arguments
from ..nets.net import Grads
from ..sequences.unroll import Schedule
from .dual import Dual, both, part, refuse_plain
from .tangent import CELLS, Cell, Tape, from_facade, pair_of_lists, to_facade, write


def backward(net: Any, tape: Tape, d_output: Dual, d_state: Dual) -> Dual:
    """The Grads of `net.backward`, and the derivative of every one of them along the direction.

    The tape is that of `tangent.forward`; the cotangents are pairs, zeros where there is none.
    Raises what `net.backward` raises for a cotangent that is not like what it belongs to, in either
    half of a pair, and TypeError for what is no pair, or is None.
    """
    refuse_plain(d_output=d_output, d_state=d_state)
    layout, rows = tape.layout, tape.rows
    dtype = tape.steps[0][0].x.value.dtype
    both(arguments.check_d_output, net, layout, dtype, d_output)
    both(arguments.check_d_state, net, layout, dtype, d_state)
    D, P = net.directions, net.output_size
    d_y = both(layout.to_rows, d_output)
    d_final = from_facade(net, layout, d_state)
    d_initial = list(d_final)
    found: dict[str, Dual] = {}
    for layer in reversed(range(net.num_layers)):
        if tape.masks and layer < net.num_layers - 1:
            d_y = both(np.multiply, d_y, tape.masks[layer])  # (3′)
        d_x = Dual(0, 0)
        for direction, suffix in enumerate(net.suffixes(layer)):
            index = layer * D + direction
            order = rows.reversal if direction else slice(None)
            half = np.s_[:, direction * P : (direction + 1) * P]
            d_in, d_initial[index], d_params = unroll_back(  # (1′)
                CELLS[net.mode],
                both(net.cell_params, tape.params, suffix),
                tape.steps[index],
                both(getitem, both(getitem, d_y, half), order),  # (2′)
                d_final[index],
                rows,
            )
            d_x = both(np.add, d_x, both(getitem, d_in, order))
            for name in d_params.value._fields:
                gradient = part(d_params, name)
                if gradient is not None:
                    found[name + suffix] = gradient
        d_y = d_x
    in_order = {name: found[name] for name in net.parameter_shapes()}
    d_params = Dual(*[{name: pair[i] for name, pair in in_order.items()} for i in (0, 1)])
    return both(Grads, both(layout.from_rows, d_y), to_facade(net, layout, d_initial), d_params)


def unroll_back(
    cell: Cell, params: Dual, tapes: Sequence[Any], d_output: Dual, d_state: Dual, rows: Schedule
) -> tuple[Dual, Dual, Dual]:
    """δx [N, I], δ of the initial state and of every parameter, in pairs."""
    total = both(_copy, d_state)
    d_x: list[Dual] = []
    d_params: list[Dual] = []
    for now, tape in zip(reversed(rows.steps), reversed(tapes), strict=True):
        alive = slice(now.stop - now.start)
        delta = both(_plus_output, both(rows_of, total, alive), both(getitem, d_output, now))
        d_x_t, before, d_params_t = cell.step_back(params, tape, delta)
        both(write, total, alive, before)
        d_x.insert(0, d_x_t)
        d_params.append(d_params_t)
    return (
        both(np.concatenate, pair_of_lists(d_x)),
        total,
        both(reduce, add, pair_of_lists(d_params)),
    )


def _copy(state: Any) -> Any:
    return state._make([field.copy() for field in state])


def _plus_output(delta: Any, d_output: np.ndarray) -> Any:
    """δ of the state a step hands on, with the cotangent of what it put out."""
    return delta._replace(h=delta.h + d_output)
