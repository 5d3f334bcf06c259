"""Real-time recurrent learning: the gradient carried forward in time, without a tape.

    s_t  [B, S]  state (h, or h and c concatenated)     θ  every parameter, of shape *θ
    J_t  [B, S, S]  ∂s_t/∂s_{t−1}                       M_t  [B, S, *θ]  ∂s_t/∂θ at fixed s_{t−1}
    P_t  [B, S, *θ]  ∂s_t/∂θ over all paths: the influence of θ up to step t

    (1)  P_t = J_t P_{t−1} + M_t        P_0 = 0
    (2)  ∂L/∂θ = Σ_t ȳ_tᵀ P_t           ȳ_t  direct cotangent of s_t; needed only at time t

Backpropagation through time multiplies the same products J_t ⋯ J_{k+1} M_k from the left, starting
at the loss, and so needs the whole past. RTRL multiplies them from the right and stores only P:
S·|θ| numbers for each sequence, for every T.

Source: Williams & Zipser 1989.
Page: docs/derivatives/rtrl.md
"""

from math import prod

import numpy as np

from ..nets import arguments
from ..nets.layout import layout_of
from ..nets.net import Net
from ..nets.state import State, split_state
from .jacobian import jacobian, linearize_steps, parameter_jacobians


def rtrl(
    net: Net,
    params: dict[str, np.ndarray],
    x: np.ndarray,
    d_output: np.ndarray,
    d_state: State | None = None,
    state: State | None = None,
) -> dict[str, np.ndarray]:
    """∂L/∂θ by name for a net with one layer and one direction, in any floating dtype.

    x is [T, B, I], d_output [T, B, H]; `state` and `d_state` are as in `net.forward` and
    `net.backward`. The result equals `net.backward(...).params`. Raises the errors of
    `jacobian.linearize_steps`, and for a cotangent those of `net.backward`.
    """
    steps = linearize_steps(net, params, x, state)
    layout = layout_of(x, net.batch_first)
    arguments.check_d_output(net, layout, x.dtype, d_output)
    if d_state is not None:
        arguments.check_d_state(net, layout, x.dtype, d_state, halves=True)
    weights = net.cell_params(params, "_l0")
    influence: dict[str, np.ndarray] = {}
    d_params = {name: np.zeros(s, x.dtype) for name, s in net.parameter_shapes().items()}
    for step, d_output_t in zip(steps, d_output, strict=True):
        J = jacobian(weights, step)
        for name, M in parameter_jacobians(weights, step).items():
            P = M if name not in influence else M + multiply(J, influence[name])  # (1)
            influence[name] = P
            d_params[f"{name}_l0"] += np.tensordot(d_output_t, P[:, : d_output.shape[2]], 2)  # (2)
    if d_state is not None:
        parts = zip(split_state(d_state), step.after, strict=True)
        d_last = np.concatenate([np.zeros_like(s) if d is None else d[0] for d, s in parts], axis=1)
        for name, P in influence.items():
            d_params[f"{name}_l0"] += np.tensordot(d_last, P, 2)  # (2)
    return d_params


def multiply(J: np.ndarray, P: np.ndarray) -> np.ndarray:
    """J P [B, S, *θ] for J [B, S, S] and P [B, S, *θ]."""
    product: np.ndarray = J @ P.reshape(*P.shape[:2], prod(P.shape[2:]))
    return product.reshape(P.shape)
