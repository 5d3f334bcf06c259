"""How long the cell of an LSTM remembers.

    f_t  [B, H]  forget gate       c_t  [B, H]  cell state       τ  memory time, in steps

    (1)  f^k = e^(−k/τ),  τ = −1 / ln f                       0.9 → 9.49 steps, 0.99 → 99.5
    (2)  ∂c_t/∂c_k = d(Π_{i=k+1..t} f_i)                      if the gates do not read h
    (3)  ∂c_t/∂c_k = the block from c to c of J_t ⋯ J_{k+1}   always

(2) is exact for W_hh = 0. Otherwise (3) has more terms: c_k moves h_k, which moves the gates of the
next step. (3) is the derivative of the net; (2) is the part that passes through the forget gates
only. Both are the identity where f = 1 and i = 0 exactly, that is, where σ is saturated to the last
bit.

Source: Hochreiter & Schmidhuber 1997; Gers et al. 2000; Tallec & Ollivier 2018 for (1).
Page: docs/dynamics/memory.md
"""

import numpy as np

from ..cells.table import read_gates
from ..derivatives.jacobian import linearize_steps
from ..nets.net import Net
from ..nets.state import State
from .products import propagator
from .ranges import check_range


def memory_time(f: np.ndarray) -> np.ndarray:
    """τ of constant forget gates of any shape, 0 ≤ f ≤ 1: 0 where f = 0, infinite where f = 1."""
    with np.errstate(divide="ignore"):
        tau: np.ndarray = 1 / np.abs(np.log(f))  # (1)
    return tau


def forget_gates(
    net: Net, params: dict[str, np.ndarray], x: np.ndarray, state: State | None = None
) -> np.ndarray:
    """f [T, B, H] along the trajectory of an LSTM with one layer and one direction.

    x is [T, B, I]; `state` is as in `net.forward`. Raises ValueError for a net without forget
    gates, and the errors of `jacobian.linearize_steps`.
    """
    if net.mode != "LSTM":
        raise ValueError(f"Expected an LSTM, because only it has forget gates, but got {net}.")
    steps = linearize_steps(net, params, x, state)
    weights = net.cell_params(params, "_l0")
    return np.stack([read_gates(net, weights, step.x, step.before).f for step in steps])


def forget_path(f: np.ndarray, k: int, t: int) -> np.ndarray:
    """Π f_i [B, H] for i = k+1 … t: the diagonal of ∂c_t/∂c_k along the forget gates only.

    f is [T, B, H]. Raises ValueError unless 0 ≤ k ≤ t ≤ T.
    """
    check_range(k, t, len(f))
    product: np.ndarray = f[k:t].prod(axis=0)  # (2)
    return product


def cell_jacobian(J: np.ndarray, H: int, k: int, t: int) -> np.ndarray:
    """∂c_t/∂c_k [B, H, H] along every path, from the Jacobians [T, B, S, S] of an LSTM.

    Raises ValueError unless 0 ≤ k ≤ t ≤ T.
    """
    return propagator(J, k, t)[:, -H:, -H:]  # (3)
