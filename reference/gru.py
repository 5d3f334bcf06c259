"""The gated recurrent unit and its adjoint, in the form that torch and cuDNN compute.

    x  [n, I]  input            u, v  [n, 3H]  net input from x, from h₋    n  rows alive at this step
    h  [n, H]  hidden state     r z n  [n, H]  reset, update, candidate     ₋  the step before
    W_ih [3H, I]   W_hh [3H, H]   b_ih, b_hh [3H]                           ⊙  elementwise product

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

Source: Cho et al. 2014, Chung et al. 2014.
Differs: there r gates h₋ before the product and z is the share of the new; here as in torch.
"""

from typing import NamedTuple

import numpy as np

from . import activations


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
    """What (1′) reads of every step: δv packed r z n, and δu_n; δu_r and δu_z are δv's."""

    v: np.ndarray
    u_n: np.ndarray


def by_gate(packed: np.ndarray) -> np.ndarray:
    """[4H, ·] seen as [4, H, ·]."""
    return packed.reshape(3, len(packed) // 3, *packed.shape[1:])


def net_input(params: Params, x: np.ndarray) -> np.ndarray:
    """u [N, 3H] from x [N, I], the rows of all steps."""
    u = x @ by_gate(params.weight_ih).swapaxes(1, 2)  # (1)
    if params.bias_ih is not None:
        u += by_gate(params.bias_ih)[:, None]
    return u


def new_tape(u: np.ndarray) -> Tape:
    """A tape of the N rows of u for `step` to fill; the gates overwrite u."""
    return Tape(u, np.empty_like(u[0]))


def step(params: Params, u: np.ndarray, before: State, tape: Tape, after: State) -> None:
    """From `before`, fill `tape` and `after`."""
    v = before.h @ by_gate(params.weight_hh).swapaxes(1, 2)  # (2)
    if params.bias_hh is not None:
        v += by_gate(params.bias_hh)[:, None]
    r, z, n = u
    u[:2] += v[:2]
    activations.sigmoid(u[:2], out=u[:2])  # (3)
    tape.v_n[:] = v[2]
    n += r * v[2]
    activations.tanh(n, out=n)  # (4)
    np.multiply(1 - z, n, out=after.h)
    np.add(after.h, z * before.h, out=after.h)  # (5)


def new_delta(params: Params, rows: int) -> Delta:
    """A delta of N rows for `step_back` to fill."""
    H = params.weight_hh.shape[1]
    like = params.weight_hh
    return Delta(np.empty_like(like, shape=(rows, 3 * H)), np.empty_like(like, shape=(rows, H)))


def step_back(
    params: Params, before: State, tape: Tape, after: State, total: State, delta: Delta
) -> None:
    """Take `total` from δh of this step to that of the step before; fill `delta`."""
    r, z, n = tape.gates
    delta_r, delta_z, delta_n = delta.v.reshape(len(r), 3, r.shape[1]).swapaxes(0, 1)
    np.multiply(total.h * (1 - z), 1 - n * n, out=delta.u_n)  # (5′) (4′)
    np.multiply(delta.u_n, r, out=delta_n)  # (4′)
    np.multiply(delta.u_n * tape.v_n, r * (1 - r), out=delta_r)  # (4′) (3′)
    np.multiply(total.h * (before.h - n), z * (1 - z), out=delta_z)  # (5′) (3′)
    np.multiply(total.h, z, out=total.h)  # (5′)
    np.add(total.h, delta.v @ params.weight_hh, out=total.h)  # (2′)


def gradients(
    params: Params, x: np.ndarray, h_before: np.ndarray, tape: Tape, delta: Delta
) -> tuple[np.ndarray, Params]:
    """δx [N, I] and the gradient of every parameter, from the rows of all steps."""
    H = h_before.shape[1]
    delta_u = np.concatenate([delta.v[:, : 2 * H], delta.u_n], axis=1)
    d_bias_ih = None if params.bias_ih is None else delta_u.sum(axis=0)
    d_bias_hh = None if params.bias_hh is None else delta.v.sum(axis=0)
    d_params = Params(delta_u.T @ x, delta.v.T @ h_before, d_bias_ih, d_bias_hh)  # (1′)
    return delta_u @ params.weight_ih, d_params
