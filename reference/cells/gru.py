"""The gated recurrent unit and its adjoint, in the form that torch and cuDNN compute.

    x  [n, I]  input            u, v  [n, 3H]  net input from x, from h₋   n  rows of this step
    h  [n, H]  hidden state     r z n  [n, H]  reset, update, candidate    ₋  the step before
    W_ih [3H, I]   W_hh [3H, H]   b_ih, b_hh [3H]                          ⊙  elementwise product

Forward                                    u, v are packed r z n, as in torch.nn.GRU
    (1)  u = x W_ihᵀ + b_ih                all steps at once: nothing here depends on h
    (2)  v = h₋ W_hhᵀ + b_hh               the only line that depends on the step before
    (3)  r, z = σ(u_r + v_r), σ(u_z + v_z)
    (4)  n = tanh(u_n + r ⊙ v_n)           r gates the product and its bias
    (5)  h = (1 − z) ⊙ n + z ⊙ h₋

Adjoint                                    δv is ∂L/∂v summed over every path from v to the loss
    (5′) δn = δh ⊙ (1 − z)     δz = δh ⊙ (h₋ − n)     δh₋ = δh ⊙ z
    (4′) δu_n = δn ⊙ (1 − n²)  δv_n = δu_n ⊙ r        δr = δu_n ⊙ v_n
    (3′) δu_k = δv_k = δk ⊙ k ⊙ (1 − k)               for k in r z
    (2′) δh₋ += δv W_hh
    (1′) δx = δu W_ih   δW_ih = Σ δuᵀ x   δW_hh = Σ δvᵀ h₋   δb_ih = Σ δu   δb_hh = Σ δv

Source: Cho et al. 2014, Chung et al. 2014.
Differs: in both papers r gates h₋ before the product (4), as in `gru_textbook`; in Chung et al. z
is the share of the new state (5); torch has two biases.
Page: docs/cells/gru.md
"""

from typing import NamedTuple

import numpy as np

from ..arithmetic import Arithmetic
from .cell import Shapes, packed_shapes


class Params(NamedTuple):
    """Weights in torch's shapes; both biases may be None. The gradient is a Params too."""

    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias_ih: np.ndarray | None = None
    bias_hh: np.ndarray | None = None


class State(NamedTuple):
    """The state between two steps, rows [n, ·]. The gradient is a State too."""

    h: np.ndarray


class Tape(NamedTuple):
    """The values that the primed equations read besides the states."""

    gates: np.ndarray  # r z n, [3, N, H]
    v_n: np.ndarray  # [N, H]


class Delta(NamedTuple):
    """The adjoints that (1′) reads, for the rows of all steps; δu_r = δv_r and δu_z = δv_z."""

    v: np.ndarray  # δv packed r z n, [N, 3H]
    u_n: np.ndarray  # δu_n [N, H]


def parameter_shapes(inputs: int, hidden: int, bias: bool, projected: int = 0) -> Shapes:
    """Name and shape of every parameter of one layer and direction, in torch's order."""
    return packed_shapes(3, inputs, hidden, bias)


def by_gate(packed: np.ndarray) -> np.ndarray:
    """A view [3, H, ·] of [3H, ·]."""
    return packed.reshape(3, len(packed) // 3, *packed.shape[1:])


def net_input(params: Params, x: np.ndarray) -> np.ndarray:
    """u [3, N, H] from x [N, I], the rows of all steps."""
    u: np.ndarray = x @ by_gate(params.weight_ih).swapaxes(1, 2)  # (1)
    if params.bias_ih is not None and params.bias_hh is not None:
        # Differs: two biases, as in torch; the papers have none.
        bias = by_gate(params.bias_ih).copy()
        # (3) adds u and v of r and z directly, so b_hh of both can be added once, for all steps.
        bias[:2] += by_gate(params.bias_hh)[:2]
        u += bias[:, None]
    return u


def new_tape(u: np.ndarray) -> Tape:
    """The tape of N rows: u [3, N, H] itself and an empty v_n [N, H]; `step` fills both.

    `step` overwrites its rows of u with the gates.
    """
    return Tape(u, np.empty_like(u[0]))


def step(
    params: Params, u: np.ndarray, before: State, tape: Tape, after: State, arithmetic: Arithmetic
) -> None:
    """Fill `tape` and `after`, views of n rows, with one step from `before`.

    u [3, n, H] shares the memory of `tape.gates`; h is [n, H].
    """
    w = by_gate(params.weight_hh).swapaxes(1, 2)
    u[:2] += before.h @ w[:2]
    v_n = np.matmul(before.h, w[2], out=tape.v_n)  # (2)
    if params.bias_hh is not None:
        v_n += by_gate(params.bias_hh)[2]
    r, z, n = u
    arithmetic.sigmoid(r, out=r)  # (3)
    arithmetic.sigmoid(z, out=z)
    # Differs: r gates the product and its bias; in both papers it gates h₋, before the product.
    n += r * v_n
    arithmetic.tanh(n, out=n)  # (4)
    # Differs: z is the share of the old state, as in Cho et al.; in Chung et al. that of the new.
    np.add((1 - z) * n, z * before.h, out=after.h)  # (5)


def new_delta(params: Params, before: State, tape: Tape) -> Delta:
    """An empty Delta of the N rows of all steps; `step_back` fills it."""
    v = np.empty_like(before.h, shape=(len(before.h), len(params.weight_hh)))
    return Delta(v, np.empty_like(before.h))


def step_back(
    params: Params, before: State, tape: Tape, after: State, total: State, delta: Delta
) -> None:
    """Replace δh [n, H] of this step in `total` by that of the step before.

    Fills `delta`. All arguments but `params` are views of the n rows of this step.
    """
    (r, z, n), v_n = tape
    delta_h = total.h
    delta_n = delta_h * (1 - z)  # (5′)
    delta_z = delta_h * (before.h - n)
    delta_h_before = delta_h * z
    delta_u_n = np.multiply(delta_n, 1 - n * n, out=delta.u_n)  # (4′)
    delta_v_n = delta_u_n * r
    delta_r = delta_u_n * v_n
    delta_v = delta.v.reshape(len(n), 3, n.shape[1])
    delta_v[:, 0] = delta_r * r * (1 - r)  # (3′)
    delta_v[:, 1] = delta_z * z * (1 - z)
    delta_v[:, 2] = delta_v_n
    np.add(delta_h_before, delta.v @ params.weight_hh, out=total.h)  # (2′)


def gradients(
    params: Params, x: np.ndarray, before: State, tape: Tape, after: State, delta: Delta
) -> tuple[np.ndarray, Params]:
    """δx [N, I] and the gradient of every parameter, summed over the rows of all steps."""
    H = before.h.shape[1]
    rz, n = slice(2 * H), slice(2 * H, None)
    d_bias_hh = None if params.bias_hh is None else delta.v.sum(axis=0)
    d_bias_ih = None
    if d_bias_hh is not None:
        d_bias_ih = np.concatenate([d_bias_hh[rz], delta.u_n.sum(axis=0)])
    d_weight_ih = np.concatenate([delta.v[:, rz].T @ x, delta.u_n.T @ x])
    d_x = delta.v[:, rz] @ params.weight_ih[rz]
    d_x += delta.u_n @ params.weight_ih[n]
    return d_x, Params(d_weight_ih, delta.v.T @ before.h, d_bias_ih, d_bias_hh)  # (1′)
