"""Ordered products of Jacobians: how a state, and the error signal, travel through time.

    s_t  [B, S]  state after step t (h, or h and c side by side)     ȳ_t  its cotangent as a result
    J_t  [B, S, S]  ∂s_t/∂s_{t−1}, see `jacobian`                    δ_t  ∂L/∂s_t, over all paths

    (1)  ∂s_t/∂s_k = J_t J_{t−1} ⋯ J_{k+1}             the last step stands first; I where t = k
    (2)  δ_k = Σ_{t ≥ k} (J_t ⋯ J_{k+1})ᵀ ȳ_t          every path from s_k to the loss, one by one
    (3)  δ_k = ȳ_k + J_{k+1}ᵀ δ_{k+1}                the same in one sweep: backpropagation

(2) costs T² products and is what the theory speaks of; (3) costs T and is what every framework
computes. The order in (1) matters as soon as two Jacobians do not commute.

Source: Werbos 1990; Pascanu, Mikolov & Bengio 2013, §2.
Page: docs/dynamics/dynamics.md
"""

from typing import Any

import numpy as np

from ..derivatives.jacobian import jacobian, steps


def jacobians(
    net: Any, params: dict[str, np.ndarray], x: np.ndarray, state: Any = None
) -> np.ndarray:
    """J [T, B, S, S] along the trajectory of a net of one layer and one direction.

    Index t − 1 holds J_t. x is [T, B, I], the state as in `net.forward`, in any floating dtype.
    """
    taken = steps(net, params, x, state)
    weights = net.cell_params(params, "_l0")
    return np.stack([jacobian(weights, now) for now in taken])


def propagator(J: np.ndarray, k: int, t: int) -> np.ndarray:
    """∂s_t/∂s_k [B, S, S] for 0 ≤ k ≤ t ≤ T; ValueError for other k and t."""
    refuse_steps(k, t, len(J))
    product = np.broadcast_to(np.eye(J.shape[-1], dtype=J.dtype), J.shape[1:]).copy()
    for i in range(k + 1, t + 1):
        product = J[i - 1] @ product  # (1)
    return product


def refuse_steps(k: int, t: int, T: int) -> None:
    """ValueError where s_k … s_t is no stretch of the states s_0 … s_T."""
    if not 0 <= k <= t <= T:
        raise ValueError(f"Expected states 0 ≤ k ≤ t ≤ T = {T}, got k={k} and t={t}.")


def credit_by_products(J: np.ndarray, d_states: np.ndarray, k: int) -> np.ndarray:
    """δ_k [B, S], from the cotangents ȳ [T, B, S] of s_1 … s_T, one product per later step.

    ValueError where not 0 ≤ k ≤ T.
    """
    refuse_steps(k, len(J), len(J))
    delta = np.zeros_like(d_states[0])
    for t in range(max(k, 1), len(J) + 1):
        delta = delta + _transposed(propagator(J, k, t), d_states[t - 1])  # (2)
    return delta


def error_signals(J: np.ndarray, d_states: np.ndarray) -> np.ndarray:
    """δ [T + 1, B, S] for s_0 … s_T, from the cotangents ȳ [T, B, S] of s_1 … s_T."""
    delta = np.concatenate([np.zeros_like(d_states[:1]), d_states])
    for k in reversed(range(len(J))):
        delta[k] += _transposed(J[k], delta[k + 1])  # (3)
    return delta


def _transposed(J: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Jᵀδ for every row."""
    return (delta[:, None, :] @ J)[:, 0]
