"""Real-time recurrent learning: the gradient carried forward, with no tape.

    s_t  [B, S]  state (h, or h and c side by side)     θ  every parameter, of shape *θ
    J_t  [B, S, S]  ∂s_t/∂s_{t−1}                       M_t  [B, S, *θ]  ∂s_t/∂θ at fixed s_{t−1}
    P_t  [B, S, *θ]  ∂s_t/∂θ over all paths, the influence of θ so far

    (1)  P_t = J_t P_{t−1} + M_t        P_0 = 0
    (2)  ∂L/∂θ = Σ_t ȳ_tᵀ P_t           ȳ_t  cotangent of s_t as a result; needed at time t only

Backpropagation through time sums the same products J_t ⋯ J_{k+1} M_k from the left, over t first,
and so needs the whole past; here they are summed from the right, and all that is kept is P, S·|θ|
numbers for each sequence whatever T.

Source: Williams & Zipser 1989.
Page: docs/derivatives/rtrl.md
"""

from math import prod
from typing import Any

import numpy as np

from ..nets import arguments
from ..nets.layout import layout_of
from ..nets.state import split_state
from .jacobian import by_parameter, jacobian, steps


def rtrl(
    net: Any,
    params: dict[str, np.ndarray],
    x: np.ndarray,
    d_output: np.ndarray,
    d_state: Any = None,
    state: Any = None,
) -> dict[str, np.ndarray]:
    """∂L/∂θ by name for a net of one layer and one direction, in any floating dtype.

    x is [T, B, I], d_output [T, B, H]; `state` and `d_state` as in `net.forward` and
    `net.backward`. Equal to `net.backward(...).params`. Raises what `jacobian.steps` raises, and
    for a cotangent what `net.backward` raises.
    """
    run = steps(net, params, x, state)
    layout = layout_of(x, net.batch_first)
    arguments.check_d_output(net, layout, x.dtype, d_output)
    if d_state is not None:
        arguments.check_d_state(net, layout, x.dtype, d_state, halves=True)
    weights = net.cell_params(params, "_l0")
    influence: dict[str, Any] = {}
    found: dict[str, Any] = dict.fromkeys(net.parameter_shapes(), 0)
    for now, d_output_t in zip(run, d_output, strict=True):
        J = jacobian(weights, now)
        for name, M in by_parameter(weights, now).items():
            P = M if name not in influence else M + times(J, influence[name])  # (1)
            influence[name] = P
            found[f"{name}_l0"] += np.tensordot(d_output_t, P[:, : d_output.shape[2]], 2)  # (2)
    if d_state is not None:
        given = zip(split_state(d_state), now.after, strict=True)
        d_last = np.concatenate([np.zeros_like(s) if d is None else d[0] for d, s in given], axis=1)
        for name, P in influence.items():
            found[f"{name}_l0"] += np.tensordot(d_last, P, 2)  # (2)
    return found


def times(J: np.ndarray, P: np.ndarray) -> np.ndarray:
    """J P [B, S, *θ] for J [B, S, S] and P [B, S, *θ]."""
    return (J @ P.reshape(*P.shape[:2], prod(P.shape[2:]))).reshape(P.shape)
