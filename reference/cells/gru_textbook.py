"""The GRU of the papers and its adjoint, and the conditions under which it equals torch's.

    x  [n, I]  input          r z n  [n, H]  reset, update, candidate       n  rows of this step
    h  [n, H]  hidden state   q  [n, H]  reset state                        ₋  the step before
    W_ih [3H, I]   W_hh [3H, H], its rows W_r W_z W_n   b_ih, b_hh [3H]     ⊙  elementwise product

Forward                                    packed r z n; compare `gru`, the form of torch and cuDNN
    (1)  u = x W_ihᵀ + b_ih + b_hh         all steps at once
    (2)  r, z = σ(u_r + h₋ W_rᵀ), σ(u_z + h₋ W_zᵀ)
    (3)  q = r ⊙ h₋                        r gates the state before the product
    (4)  n = tanh(u_n + q W_nᵀ)            and no bias
    (5)  h = (1 − z) ⊙ h₋ + z ⊙ n          z is the share of the new

Adjoint                                    δv is ∂L/∂v summed over every path from v to the loss
    (5′) δn = δh ⊙ z   δz = δh ⊙ (n − h₋)  δh₋ = δh ⊙ (1 − z)
    (4′) δu_n = δn ⊙ (1 − n²)              δq = δu_n W_n
    (3′) δr = δq ⊙ h₋                      δh₋ += δq ⊙ r
    (2′) δu_k = δk ⊙ k ⊙ (1 − k)  for k in r z     δh₋ += δu_r W_r + δu_z W_z
    (1′) δx = δu W_ih   δW_ih = Σ δuᵀ x   δW_k = Σ δu_kᵀ h₋   δW_n = Σ δu_nᵀ q   δb = Σ δu

How it compares with torch's form
    (6)  W_z, b_z ↦ −W_z, −b_z             makes z the share of the old, exactly: σ(−a) = 1 − σ(a)

The place of r is not a convention: W_n (r ⊙ h₋) + b = r ⊙ (W_n h₋ + b) for every h₋ if and only if
W_jk (r_k − r_j) = 0 and b_j (1 − r_j) = 0 for all j, k; for example if r = 1, or if W_n is diagonal
and b = 0.

Source: Chung et al. 2014. Cho et al. 2014 has r here too, and z as the share of the old.
Page: docs/cells/gru_textbook.md
"""

from typing import NamedTuple

import numpy as np

from .. import activations
from ..arithmetic import Arithmetic
from . import gates
from .cell import Shapes, packed_shapes
from .gru import Params, State


class Tape(NamedTuple):
    """The values that the primed equations read besides the states."""

    gates: np.ndarray  # r z n side by side, [N, 3H]
    q: np.ndarray  # [N, H]


class Delta(NamedTuple):
    """The adjoints that (1′) reads, for the rows of all steps."""

    u: np.ndarray  # δu packed r z n, [N, 3H]


def flip_update(params: Params) -> Params:
    """Parameters of the same function with the other meaning of z; exact, and its own inverse."""
    return Params._make([value if value is None else _flipped(value) for value in params])


def _flipped(value: np.ndarray) -> np.ndarray:
    r, z, n = np.split(value, 3)
    return np.concatenate([r, -z, n])  # (6)


def parameter_shapes(inputs: int, hidden: int, bias: bool, projected: int = 0) -> Shapes:
    """Name and shape of every parameter of one layer and direction, in torch's order."""
    return packed_shapes(3, inputs, hidden, bias)


def net_input(params: Params, x: np.ndarray) -> np.ndarray:
    """u [N, 3H] from x [N, I], the rows of all steps."""
    u: np.ndarray = x @ params.weight_ih.T  # (1)
    if params.bias_ih is not None and params.bias_hh is not None:
        # Differs: biases, as the sum of torch's two; the papers have none.
        u += params.bias_ih + params.bias_hh
    return u


def new_tape(u: np.ndarray) -> Tape:
    """Room for the tape of the N rows of u."""
    return Tape(np.empty_like(u), np.empty_like(u, shape=(len(u), u.shape[1] // 3)))


def step(
    params: Params, u: np.ndarray, before: State, tape: Tape, after: State, arithmetic: Arithmetic
) -> None:
    """Fill `tape` and `after` with one step from `before`."""
    W_r, W_z, W_n = np.split(params.weight_hh, 3)
    u_r, u_z, u_n = np.split(u, 3, axis=1)
    r = arithmetic.sigmoid(u_r + before.h @ W_r.T)  # (2)
    z = arithmetic.sigmoid(u_z + before.h @ W_z.T)
    tape.q[:] = r * before.h  # (3)
    n = arithmetic.tanh(u_n + tape.q @ W_n.T)  # (4)
    after.h[:] = (1 - z) * before.h + z * n  # (5)
    np.concatenate([r, z, n], axis=1, out=tape.gates)


def new_delta(params: Params, before: State, tape: Tape) -> Delta:
    """An empty Delta of the N rows of all steps; `step_back` fills it."""
    return Delta(np.empty_like(tape.gates))


def step_back(
    params: Params, before: State, tape: Tape, after: State, total: State, delta: Delta
) -> None:
    """Replace δh of this step in `total` by that of the step before; fill `delta`."""
    W_r, W_z, W_n = np.split(params.weight_hh, 3)
    r, z, n = np.split(tape.gates, 3, axis=1)
    delta_u_r, delta_u_z, delta_u_n = np.split(delta.u, 3, axis=1)
    delta_n = total.h * z  # (5′)
    delta_z = total.h * (n - before.h)
    delta_h = total.h * (1 - z)
    delta_u_n[:] = delta_n * (1 - n * n)  # (4′)
    delta_q = delta_u_n @ W_n
    delta_r = delta_q * before.h  # (3′)
    delta_h += delta_q * r
    delta_u_r[:] = delta_r * r * (1 - r)  # (2′)
    delta_u_z[:] = delta_z * z * (1 - z)
    total.h[:] = delta_h + delta_u_r @ W_r + delta_u_z @ W_z


def gradients(
    params: Params, x: np.ndarray, before: State, tape: Tape, after: State, delta: Delta
) -> tuple[np.ndarray, Params]:
    """δx [N, I] and the gradient of every parameter, summed over the rows of all steps."""
    H = before.h.shape[1]
    d_W_rz, d_W_n = delta.u[:, : 2 * H].T @ before.h, delta.u[:, 2 * H :].T @ tape.q
    d_bias_ih = None if params.bias_ih is None else delta.u.sum(axis=0)
    d_bias_hh = None if d_bias_ih is None else d_bias_ih.copy()
    d_W_hh = np.concatenate([d_W_rz, d_W_n])
    d_params = Params(delta.u.T @ x, d_W_hh, d_bias_ih, d_bias_hh)  # (1′)
    return delta.u @ params.weight_ih, d_params


def read_gates(params: Params, x: np.ndarray, h: np.ndarray) -> gates.GRU:
    """The gates [n, H] of one step as plain values, from x [n, I] and h [n, H] before it.

    `v` is the candidate's net input from the reset state, W_n (r ⊙ h₋).
    """
    W_r, W_z, W_n = np.split(params.weight_hh, 3)
    u_r, u_z, u_n = np.split(net_input(params, x), 3, axis=1)
    r, z = activations.sigmoid(u_r + h @ W_r.T), activations.sigmoid(u_z + h @ W_z.T)
    v = (r * h) @ W_n.T
    return gates.GRU(r, z, activations.tanh(u_n + v), v)
