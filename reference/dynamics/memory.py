"""How long an LSTM's cell remembers.

    f_t  [B, H]  forget gate       c_t  [B, H]  cell state       τ  memory time, in steps

    (1)  f^k = e^(−k/τ),  τ = −1 / ln f                       0.9 → 9.49 steps, 0.99 → 99.5
    (2)  ∂c_t/∂c_k = d(Π_{i=k+1..t} f_i)                      if the gates do not see h
    (3)  ∂c_t/∂c_k = the block from c to c of J_t ⋯ J_{k+1}   always

(2) is exact for W_hh = 0. Else (3) has further terms: c_k moves h_k, which moves the gates of the
next step. What a net does is (3); (2) is what its forget gates alone would do.
Both are the identity where f = 1 and i = 0 exactly, that is, where σ is saturated to the last bit.

Source: Hochreiter & Schmidhuber 1997; Gers et al. 2000; Tallec & Ollivier 2018 for (1).
Page: docs/dynamics/memory.md
"""

from typing import Any

import numpy as np

from ..cells.table import read_gates
from ..derivatives.jacobian import steps
from .products import propagator, refuse_steps


def memory_time(f: np.ndarray) -> np.ndarray:
    """τ of a constant forget gate, any shape, 0 ≤ f ≤ 1: 0 where f = 0, infinite where f = 1."""
    with np.errstate(divide="ignore"):
        return 1 / np.abs(np.log(f))  # (1)


def forget_gates(
    net: Any, params: dict[str, np.ndarray], x: np.ndarray, state: Any = None
) -> np.ndarray:
    """f [T, B, H] along the trajectory of an LSTM of one layer and one direction.

    Raises ValueError for a net without forget gates.
    """
    if net.mode != "LSTM":
        raise ValueError(f"Expected an LSTM, for its forget gates, but got {net}.")
    taken = steps(net, params, x, state)
    weights = net.cell_params(params, "_l0")
    return np.stack([read_gates(net, weights, now.x, now.before).f for now in taken])


def forget_path(f: np.ndarray, k: int, t: int) -> np.ndarray:
    """Π f_i [B, H] for i = k+1 … t: the diagonal of ∂c_t/∂c_k along the forget gates alone.

    f is [T, B, H]; ValueError where not 0 ≤ k ≤ t ≤ T.
    """
    refuse_steps(k, t, len(f))
    return f[k:t].prod(axis=0)  # (2)


def cell_jacobian(J: np.ndarray, H: int, k: int, t: int) -> np.ndarray:
    """∂c_t/∂c_k [B, H, H] along every path, from the Jacobians [T, B, S, S] of an LSTM.

    ValueError where not 0 ≤ k ≤ t ≤ T.
    """
    return propagator(J, k, t)[:, -H:, -H:]  # (3)
