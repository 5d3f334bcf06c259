"""Ordered products of Jacobians: how a state and an error signal propagate through time.

    s_t  [B, S]  state after step t (h, or h and c concatenated)     ȳ_t  its direct cotangent
    J_t  [B, S, S]  ∂s_t/∂s_{t−1}, see `jacobian`                    δ_t  ∂L/∂s_t, over all paths

    (1)  ∂s_t/∂s_k = J_t J_{t−1} ⋯ J_{k+1}             the last step is leftmost; I where t = k
    (2)  δ_k = Σ_{t ≥ k} (J_t ⋯ J_{k+1})ᵀ ȳ_t          every path from s_k to the loss, one by one
    (3)  δ_k = ȳ_k + J_{k+1}ᵀ δ_{k+1}                the same in one sweep: backpropagation

(2) costs T² products and is the form used in theory; (3) costs T and is the form that every
framework computes. The order in (1) matters if two Jacobians do not commute.

Source: Werbos 1990; Pascanu, Mikolov & Bengio 2013, §2.
Page: docs/dynamics/dynamics.md
"""

import numpy as np

from ..derivatives.jacobian import jacobian, linearize_steps
from ..nets.net import Net
from ..nets.state import State
from .ranges import check_range


def jacobians(
    net: Net, params: dict[str, np.ndarray], x: np.ndarray, state: State | None = None
) -> np.ndarray:
    """J [T, B, S, S] along the trajectory of a net with one layer and one direction.

    Index t − 1 holds J_t. x is [T, B, I] of any floating dtype; `state` is as in `net.forward`.
    Raises the errors of `jacobian.linearize_steps`.
    """
    steps = linearize_steps(net, params, x, state)
    weights = net.cell_params(params, "_l0")
    return np.stack([jacobian(weights, step) for step in steps])


def propagator(J: np.ndarray, k: int, t: int) -> np.ndarray:
    """∂s_t/∂s_k [B, S, S] for 0 ≤ k ≤ t ≤ T; raises ValueError for other k and t."""
    check_range(k, t, len(J))
    product: np.ndarray = np.broadcast_to(np.eye(J.shape[-1], dtype=J.dtype), J.shape[1:]).copy()
    for i in range(k + 1, t + 1):
        product = J[i - 1] @ product  # (1)
    return product


def credit_by_products(J: np.ndarray, d_states: np.ndarray, k: int) -> np.ndarray:
    """δ_k [B, S] from the cotangents ȳ [T, B, S] of s_1 … s_T, with one product per later step.

    Raises ValueError unless 0 ≤ k ≤ T.
    """
    check_range(k, len(J), len(J))
    delta: np.ndarray = np.zeros_like(d_states[0])
    for t in range(max(k, 1), len(J) + 1):
        delta = delta + _multiply_transposed(propagator(J, k, t), d_states[t - 1])  # (2)
    return delta


def error_signals(J: np.ndarray, d_states: np.ndarray) -> np.ndarray:
    """δ [T + 1, B, S] for s_0 … s_T, from the cotangents ȳ [T, B, S] of s_1 … s_T."""
    delta = np.concatenate([np.zeros_like(d_states[:1]), d_states])
    for k in reversed(range(len(J))):
        delta[k] += _multiply_transposed(J[k], delta[k + 1])  # (3)
    return delta


def _multiply_transposed(J: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Jᵀδ for every row."""
    product: np.ndarray = delta[:, None, :] @ J
    return product[:, 0]
