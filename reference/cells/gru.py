"""The gated recurrent unit and its adjoint, in the form that torch and cuDNN compute.

    x  [n, I]  input            u, v  [n, 3H]  net input from x, from h₋   n  rows of this step
    h  [n, H]  hidden state     r z n  [n, H]  reset, update, candidate    ₋  the step before
    W_ih [3H, I]   W_hh [3H, H]   b_ih, b_hh [3H]                          ⊙  elementwise product

Forward                                    u, v are packed r z n, as in torch.nn.GRU
    (1)  u = x W_ihᵀ + b_ih                every step at once: nothing here waits for h
    (2)  v = h₋ W_hhᵀ + b_hh               the only line that time makes sequential
    (3)  r, z = σ(u_r + v_r), σ(u_z + v_z)
    (4)  n = tanh(u_n + r ⊙ v_n)           r gates the product and its bias
    (5)  h = (1 − z) ⊙ n + z ⊙ h₋

Adjoint                                    δv is ∂L/∂v summed over every path from v to the loss
    (5′) δn = δh ⊙ (1 − z)     δz = δh ⊙ (h₋ − n)     δh₋ = δh ⊙ z
    (4′) δu_n = δn ⊙ (1 − n²)  δv_n = δu_n ⊙ r        δr = δu_n ⊙ v_n
    (3′) δu_k = δv_k = δk ⊙ k ⊙ (1 − k)               for k in r z
    (2′) δh₋ += δv W_hh
    (1′) δx = δu W_ih   δW_ih = Σ δuᵀ x   δW_hh = Σ δvᵀ h₋   δb_ih = Σ δu   δb_hh = Σ δv
    What multiplies δh on its way to v waits for no δ: these slopes are taken at every step at once.

Source: Cho et al. 2014, Chung et al. 2014.
Differs: there r gates h₋ before the product, and in Chung et al. z is the share of the new.
Page: docs/cells/gru.md
"""

from typing import NamedTuple

import numpy as np

from .. import activations


class Params(NamedTuple):
    """Weights in torch's shapes; both biases may be absent. The gradient is a Params too."""

    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias_ih: np.ndarray | None = None
    bias_hh: np.ndarray | None = None


class State(NamedTuple):
    """What one step hands to the next."""

    h: np.ndarray


class Tape(NamedTuple):
    """What the primed equations read beside the states: r z n packed, and v_n."""

    gates: np.ndarray
    v_n: np.ndarray


class Delta(NamedTuple):
    """What (1′) reads of every step: δv packed r z n, and δu_n; δu_r and δu_z are δv's.

    Before `step_back` comes by, their slopes.
    """

    v: np.ndarray
    u_n: np.ndarray


def by_gate(packed: np.ndarray) -> np.ndarray:
    """[3H, ·] seen as [3, H, ·]."""
    return packed.reshape(3, len(packed) // 3, *packed.shape[1:])


def net_input(params: Params, x: np.ndarray) -> np.ndarray:
    """u [3, N, H] from x [N, I], the rows of all steps."""
    u = x @ by_gate(params.weight_ih).swapaxes(1, 2)  # (1)
    if params.bias_ih is not None and params.bias_hh is not None:
        bias = by_gate(params.bias_ih).copy()
        bias[:2] += by_gate(params.bias_hh)[:2]  # of (2): nothing gates these two
        u += bias[:, None]
    return u


def new_tape(u: np.ndarray) -> Tape:
    """A tape of the N rows of u for `step` to fill; the gates overwrite u."""
    return Tape(u, np.empty_like(u[0]))


def step(params: Params, u: np.ndarray, before: State, tape: Tape, after: State) -> None:
    """From `before`, fill `tape` and `after`."""
    w = by_gate(params.weight_hh).swapaxes(1, 2)
    u[:2] += before.h @ w[:2]
    v_n = np.matmul(before.h, w[2], out=tape.v_n)  # (2)
    if params.bias_hh is not None:
        v_n += by_gate(params.bias_hh)[2]
    r, z, n = u
    activations.sigmoid(r, out=r)  # (3)
    activations.sigmoid(z, out=z)
    n += r * v_n
    activations.tanh(n, out=n)  # (4)
    np.multiply(1 - z, n, out=after.h)
    np.add(after.h, z * before.h, out=after.h)  # (5)


def slopes(params: Params, before: State, tape: Tape, after: State) -> Delta:
    """s of every row: δv_k = δh ⊙ s_k for k in r z n, δu_n = δh ⊙ s_u_n, by (5′) (4′) (3′)."""
    r, z, n = tape.gates
    rows, H = n.shape
    s = np.empty_like(n, shape=(rows, 3, H))
    s_r, s_z, s_n = s.swapaxes(0, 1)
    s_u_n = activations.tanh_slope(n)
    s_u_n *= 1 - z  # (5′) (4′)
    np.multiply(s_u_n, r, out=s_n)  # (4′)
    np.multiply(s_u_n * tape.v_n, activations.sigmoid_slope(r), out=s_r)  # (4′) (3′)
    np.multiply(before.h - n, activations.sigmoid_slope(z), out=s_z)  # (5′) (3′)
    return Delta(s.reshape(rows, 3 * H), s_u_n)


def step_back(params: Params, tape: Tape, total: State, delta: Delta) -> None:
    """Take `total` from δh of this step to that of the step before, `delta` from slope to δ."""
    delta_h, z = total.h, tape.gates[1]
    delta_v = delta.v.reshape(len(z), 3, z.shape[1])
    delta_v *= delta_h[:, None]  # (5′) (4′) (3′)
    np.multiply(delta_h, delta.u_n, out=delta.u_n)
    delta_h *= z  # (5′)
    delta_h += delta.v @ params.weight_hh  # (2′)


def gradients(
    params: Params, x: np.ndarray, h_before: np.ndarray, tape: Tape, delta: Delta
) -> tuple[np.ndarray, Params]:
    """δx [N, I] and the gradient of every parameter, from the rows of all steps."""
    H = h_before.shape[1]
    rz, n = slice(2 * H), slice(2 * H, None)
    d_bias_hh = None if params.bias_hh is None else delta.v.sum(axis=0)
    d_bias_ih = None
    if d_bias_hh is not None:
        d_bias_ih = np.concatenate([d_bias_hh[rz], delta.u_n.sum(axis=0)])
    d_weight_ih = np.concatenate([delta.v[:, rz].T @ x, delta.u_n.T @ x])
    d_x = delta.v[:, rz] @ params.weight_ih[rz]
    d_x += delta.u_n @ params.weight_ih[n]
    return d_x, Params(d_weight_ih, delta.v.T @ h_before, d_bias_ih, d_bias_hh)  # (1′)
