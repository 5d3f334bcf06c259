"""The GRU to second order: one step and its adjoint, each with its derivative.

The equation numbers are those of `gru`; a dot marks the derivative of a line, with v̇ as in `dual`.

Forward
    (1)  u = x W_ihᵀ + b_ih                (1˙)  by `dual.linear`
    (2)  v = h₋ W_hhᵀ + b_hh               (2˙)  by `dual.linear`
    (3)  r, z = σ(u + v)                   (3˙)  k̇ = k (1−k) (u̇_k + v̇_k)   for k in r z
    (4)  n = tanh(u_n + r v_n)             (4˙)  ṅ = (1−n²) (u̇_n + ṙ v_n + r v̇_n)
    (5)  h = (1−z) n + z h₋                (5˙)  ḣ = (1−z) ṅ + z ḣ₋ + ż (h₋ − n)

Adjoint
    (5′) δn = δh (1−z)                     (5′˙) δṅ = δḣ (1−z) − δh ż
         δz = δh (h₋ − n)                        δż = δḣ (h₋ − n) + δh (ḣ₋ − ṅ)
         δh₋ = δh z                              δḣ₋ = δḣ z + δh ż
    (4′) δu_n = δn (1−n²)                  (4′˙) δu̇_n = δṅ (1−n²) − 2 δn n ṅ
         δv_n = δu_n r                           δv̇_n = δu̇_n r + δu_n ṙ
         δr = δu_n v_n                           δṙ = δu̇_n v_n + δu_n v̇_n
    (3′) δu_k = δv_k = δk k (1−k)          (3′˙) δu̇_k = δk̇ k (1−k) + δk (1−2k) k̇
    (2′) δh₋ += δv W_hh                    (2′˙) by `dual.linear_back`
    (1′) δx = δu W_ih, …                   (1′˙) by `dual.linear_back`

Source: Pearlmutter 1994, applied to `gru`. All products of vectors are elementwise.
The adjoint is derived on docs/derivatives/second_order.md.
Page: docs/derivatives/tangent.md
"""

from typing import NamedTuple

import numpy as np

from ..arithmetic import NUMPY, Arithmetic
from ..cells.gru import Params, State
from .dual import Dual, linear, linear_back, make, map_dual, pick, split_columns


class Tape(NamedTuple):
    """The values that the primed equations read, each with its derivative."""

    x: Dual[np.ndarray]
    h_before: Dual[np.ndarray]
    r: Dual[np.ndarray]
    z: Dual[np.ndarray]
    n: Dual[np.ndarray]
    v_n: Dual[np.ndarray]


def step(
    params: Dual[Params],
    x: Dual[np.ndarray],
    before: Dual[State],
    arithmetic: Arithmetic = NUMPY,
) -> tuple[Dual[State], Tape]:
    """The State after the step, with its derivative, and the tape."""
    h_before = pick(before, "h")
    u = linear(x, pick(params, "weight_ih"), pick(params, "bias_ih"))  # (1) (1˙)
    v = linear(h_before, pick(params, "weight_hh"), pick(params, "bias_hh"))  # (2) (2˙)
    (u_r, u_z, u_n), (v_r, v_z, v_n) = split_columns(u, 3), split_columns(v, 3)
    r = arithmetic.sigmoid(u_r.value + v_r.value)
    z = arithmetic.sigmoid(u_z.value + v_z.value)  # (3)
    r_dot = r * (1 - r) * (u_r.dot + v_r.dot)  # (3˙)
    z_dot = z * (1 - z) * (u_z.dot + v_z.dot)
    n = arithmetic.tanh(u_n.value + r * v_n.value)  # (4)
    n_dot = (1 - n * n) * (u_n.dot + r_dot * v_n.value + r * v_n.dot)  # (4˙)
    h = (1 - z) * n + z * h_before.value  # (5)
    h_dot = (1 - z) * n_dot + z * h_before.dot + z_dot * (h_before.value - n)  # (5˙)
    tape = Tape(x, h_before, Dual(r, r_dot), Dual(z, z_dot), Dual(n, n_dot), v_n)
    return make(State, Dual(h, h_dot)), tape


def step_back(
    params: Dual[Params], tape: Tape, delta: Dual[State]
) -> tuple[Dual[np.ndarray], Dual[State], Dual[Params]]:
    """δx, the State δh₋ and the Params δθ of one step, each with its derivative."""
    x, h_before, (r, r_dot), (z, z_dot), (n, n_dot), (v_n, v_n_dot) = tape
    d_h, d_h_dot = pick(delta, "h")
    d_n, d_n_dot = d_h * (1 - z), d_h_dot * (1 - z) - d_h * z_dot  # (5′) (5′˙)
    d_z = d_h * (h_before.value - n)
    d_z_dot = d_h_dot * (h_before.value - n) + d_h * (h_before.dot - n_dot)
    d_h_z = Dual(d_h * z, d_h_dot * z + d_h * z_dot)
    d_u_n = d_n * (1 - n * n)  # (4′)
    d_u_n_dot = d_n_dot * (1 - n * n) - 2 * d_n * n * n_dot  # (4′˙)
    d_v_n, d_v_n_dot = d_u_n * r, d_u_n_dot * r + d_u_n * r_dot
    d_r, d_r_dot = d_u_n * v_n, d_u_n_dot * v_n + d_u_n * v_n_dot
    d_a_r = d_r * r * (1 - r)  # (3′)
    d_a_r_dot = d_r_dot * r * (1 - r) + d_r * (1 - 2 * r) * r_dot  # (3′˙)
    d_a_z = d_z * z * (1 - z)
    d_a_z_dot = d_z_dot * z * (1 - z) + d_z * (1 - 2 * z) * z_dot
    d_rz, d_rz_dot = [d_a_r, d_a_z], [d_a_r_dot, d_a_z_dot]
    d_u = map_dual(np.hstack, Dual([*d_rz, d_u_n], [*d_rz_dot, d_u_n_dot]))
    d_v = map_dual(np.hstack, Dual([*d_rz, d_v_n], [*d_rz_dot, d_v_n_dot]))
    weight_ih, weight_hh, bias_ih, bias_hh = [pick(params, name) for name in Params._fields]
    d_x, d_weight_ih, d_bias_ih = linear_back(x, weight_ih, bias_ih, d_u)  # (1′) (1′˙)
    d_h_v, d_weight_hh, d_bias_hh = linear_back(h_before, weight_hh, bias_hh, d_v)  # (2′) (2′˙)
    d_params = make(Params, d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh)
    return d_x, make(State, map_dual(np.add, d_h_z, d_h_v)), d_params
