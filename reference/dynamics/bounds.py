"""How much one step can stretch an error signal: norm bounds from weights and gates.

    J  [S, S]  ∂s/∂s₋ of a step       ‖·‖ spectral norm       max  over the units of a row
    W_k  [H, H]  the rows of W_hh that belong to gate k        v = h₋ W_hh,nᵀ + b_hh,n

    (1)  RNN   ‖J‖ ≤ max φ′(a) · ‖W_hh‖                φ′ = 1 − tanh² ≤ 1, or [h ≠ 0]
    (2)  GRU   ‖J‖ ≤ max z + max(1−z) (max r ‖W_n‖ + ¼ max|v| ‖W_r‖) + ¼ max|h₋ − n| ‖W_z‖
    (3)  LSTM  ‖J‖ ≤ ‖ p (max o · κ + ω)   p max o · max f ‖       columns: from h₋, c₋
                     ‖ κ                   max f           ‖       rows: to h, c
               κ = ¼ max|g| ‖W_i‖ + ¼ max|c₋| ‖W_f‖ + max i ‖W_g‖     ω = ¼ max|tanh c| ‖W_o‖
               p = ‖W_hr‖, or 1 where h is not projected
    (4)  ‖∂s_t/∂s_k‖ ≤ Π_{i=k+1..t} ‖J_i‖ ≤ γ^{t−k}      where every factor is at most γ

They follow from the triangle inequality, ‖AB‖ ≤ ‖A‖‖B‖, σ′ ≤ ¼ and tanh′ ≤ 1, and each is attained
by some net. For the spectral radius in place of the norm (4) is false: [[0,2],[0,0]] and
[[0,0],[2,0]] have radius 0, their product has radius 4.

Source: Pascanu, Mikolov & Bengio 2013, §2.1, for (1) and (4); the others in the same manner.
Page: docs/dynamics/dynamics.md
"""

from typing import Any

import numpy as np

from .. import activations
from ..cells import gates
from ..cells.table import read_gates
from ..derivatives.jacobian import Step
from .products import refuse_steps


def step_bound(net: Any, params: Any, now: Step) -> np.ndarray:
    """A bound [n] on the spectral norm of J for every row of a step; float32 or float64."""
    opened = read_gates(net, params, now.x, now.before)
    if net.mode == "GRU":
        return _gru(params.weight_hh, opened, now.before.h)
    if net.mode == "LSTM":
        return _lstm(params, opened, now.before.c)
    relu = net.mode == "RNN_RELU"
    slope = (activations.relu_slope if relu else activations.tanh_slope)(now.after.h)
    return largest(slope) * norm(params.weight_hh)  # (1)


def path_bound(step_bounds: np.ndarray, k: int, t: int) -> np.ndarray:
    """A bound [n] on ‖∂s_t/∂s_k‖, 0 ≤ k ≤ t ≤ T, from the bounds [T, n] of every step.

    ValueError for other k and t.
    """
    refuse_steps(k, t, len(step_bounds))
    return step_bounds[k:t].prod(axis=0)  # (4)


def _gru(weight_hh: np.ndarray, opened: gates.GRU, h_before: np.ndarray) -> np.ndarray:
    W_r, W_z, W_n = map(norm, np.split(weight_hh, 3))
    r, z, n, v = opened
    candidate = largest(r) * W_n + largest(v) * W_r / 4
    return largest(z) + largest(1 - z) * candidate + largest(h_before - n) * W_z / 4  # (2)


def _lstm(params: Any, opened: gates.LSTM, c_before: np.ndarray) -> np.ndarray:
    W_i, W_f, W_g, W_o = map(norm, np.split(params.weight_hh, 4))
    i, f, g, o, c = opened
    kappa = (largest(g) * W_i + largest(c_before) * W_f) / 4 + largest(i) * W_g
    omega = largest(np.tanh(c)) * W_o / 4
    p = 1 if params.weight_hr is None else norm(params.weight_hr)
    to_h = [p * (largest(o) * kappa + omega), p * largest(o) * largest(f)]
    blocks = np.array([to_h, [kappa, largest(f)]])
    return norm(np.moveaxis(blocks, -1, 0))  # (3)


def largest(v: np.ndarray) -> np.ndarray:
    """max|v| over the units [n, H] of every row."""
    return np.abs(v).max(axis=1)


def norm(A: np.ndarray) -> np.ndarray:
    """The spectral norm of matrices [..., H, H]."""
    return np.linalg.norm(A, 2, axis=(-2, -1))
