"""How much one step can stretch an error signal: norm bounds from the weights and gates.

    J  [S, S]  ∂s/∂s₋ of a step       ‖·‖ spectral norm       max  over the units of a row
    W_k  [H, H or P]  the rows of W_hh that belong to gate k        v = h₋ W_hh,nᵀ + b_hh,n

    (1)  RNN   ‖J‖ ≤ max φ′(a) · ‖W_hh‖                φ′ = 1 − tanh² ≤ 1, or [h ≠ 0]
    (2)  GRU   ‖J‖ ≤ max z + max(1−z) (max r ‖W_n‖ + ¼ max|v| ‖W_r‖) + ¼ max|h₋ − n| ‖W_z‖
    (3)  LSTM  ‖J‖ ≤ ‖ p (max o · κ + ω)   p max o · max f ‖       columns: from h₋, c₋
                     ‖ κ                   max f           ‖       rows: to h, c
               κ = ¼ max|g| ‖W_i‖ + ¼ max|c₋| ‖W_f‖ + max i ‖W_g‖     ω = ¼ max|tanh c| ‖W_o‖
               p = ‖W_hr‖, or 1 where h is not projected
    (4)  ‖∂s_t/∂s_k‖ ≤ Π_{i=k+1..t} ‖J_i‖ ≤ γ^{t−k}      where every factor is at most γ

The bounds follow from the triangle inequality, ‖AB‖ ≤ ‖A‖‖B‖, σ′ ≤ ¼ and tanh′ ≤ 1, and each is
attained by some net. With the spectral radius in place of the norm, (4) is false: [[0,2],[0,0]] and
[[0,0],[2,0]] have radius 0, and their product has radius 4.

Source: Pascanu, Mikolov & Bengio 2013, §2.1, for (1) and (4); the others are derived the same way.
Page: docs/dynamics/dynamics.md
"""

import numpy as np

from .. import activations
from ..cells import gates, lstm
from ..cells.table import CellParams, read_gates
from ..derivatives.jacobian import Step
from ..nets.net import Net
from .ranges import check_range


def step_bound(net: Net, params: CellParams, step: Step) -> np.ndarray:
    """A bound [n] on the spectral norm of J for every row of a step, in float32 or float64."""
    gate_values = read_gates(net, params, step.x, step.before)
    if net.mode == "GRU":
        return _gru(params.weight_hh, gate_values, step.before.h)
    if isinstance(params, lstm.Params):
        return _lstm(params, gate_values, step.before[-1])
    relu = net.mode == "RNN_RELU"
    slope = (activations.relu_slope if relu else activations.tanh_slope)(step.after.h)
    bound: np.ndarray = max_abs(slope) * norm(params.weight_hh)  # (1)
    return bound


def path_bound(step_bounds: np.ndarray, k: int, t: int) -> np.ndarray:
    """A bound [n] on ‖∂s_t/∂s_k‖, 0 ≤ k ≤ t ≤ T, from the bounds [T, n] of every step.

    Raises ValueError for other k and t.
    """
    check_range(k, t, len(step_bounds))
    bound: np.ndarray = step_bounds[k:t].prod(axis=0)  # (4)
    return bound


def _gru(weight_hh: np.ndarray, gate_values: gates.GRU, h_before: np.ndarray) -> np.ndarray:
    W_r, W_z, W_n = map(norm, np.split(weight_hh, 3))
    r, z, n, v = gate_values
    candidate = max_abs(r) * W_n + max_abs(v) * W_r / 4
    bound: np.ndarray = (  # (2)
        max_abs(z) + max_abs(1 - z) * candidate + max_abs(h_before - n) * W_z / 4
    )
    return bound


def _lstm(params: lstm.Params, gate_values: gates.LSTM, c_before: np.ndarray) -> np.ndarray:
    W_i, W_f, W_g, W_o = map(norm, np.split(params.weight_hh, 4))
    i, f, g, o, c = gate_values
    kappa = (max_abs(g) * W_i + max_abs(c_before) * W_f) / 4 + max_abs(i) * W_g
    omega = max_abs(np.tanh(c)) * W_o / 4
    p = 1 if params.weight_hr is None else norm(params.weight_hr)
    to_h = [p * (max_abs(o) * kappa + omega), p * max_abs(o) * max_abs(f)]
    blocks = np.array([to_h, [kappa, max_abs(f)]])
    return norm(np.moveaxis(blocks, -1, 0))  # (3)


def max_abs(v: np.ndarray) -> np.ndarray:
    """max|v| over the units [n, H] of every row."""
    maximum: np.ndarray = np.abs(v).max(axis=1)
    return maximum


def norm(A: np.ndarray) -> np.ndarray:
    """The spectral norm of matrices [..., H, H]."""
    norms: np.ndarray = np.linalg.norm(A, 2, axis=(-2, -1))
    return norms
