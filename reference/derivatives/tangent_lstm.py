"""The LSTM to second order: one step and its adjoint, each with its derivative.

The equation numbers are those of `lstm`, with b_hh in (2); a dot marks the derivative of a line,
with v̇ as in `dual`. τ = tanh(c).

Forward
    (1)  u = x W_ihᵀ + b_ih                (1˙)  by `dual.linear`
    (2)  a = u + h₋ W_hhᵀ + b_hh           (2˙)  by `dual.linear`
    (3)  i, f, o = σ(a)   g = tanh(a_g)    (3˙)  k̇ = k (1−k) ȧ_k for k in i f o   ġ = (1−g²) ȧ_g
    (4)  c = f c₋ + i g                    (4˙)  ċ = ḟ c₋ + f ċ₋ + i̇ g + i ġ
    (5)  m = o τ                           (5˙)  τ̇ = (1−τ²) ċ   ṁ = ȯ τ + o τ̇
    (6)  h = m W_hrᵀ                       (6˙)  by `dual.linear`

Adjoint
    (6′) δm = δh W_hr                      (6′˙) by `dual.linear_back`
    (5′) δo = δm τ                         (5′˙) δȯ = δṁ τ + δm τ̇
         δc += δm o (1−τ²)                       δċ += (δṁ o + δm ȯ) (1−τ²) − 2 δm o τ τ̇
    (4′) δi = δc g      δf = δc c₋         (4′˙) δi̇ = δċ g + δc ġ   δḟ = δċ c₋ + δc ċ₋
         δg = δc i      δc₋ = δc f               δġ = δċ i + δc i̇   δċ₋ = δċ f + δc ḟ
    (3′) δa_k = δk k (1−k)                 (3′˙) δȧ_k = δk̇ k (1−k) + δk (1−2k) k̇
         δa_g = δg (1−g²)                        δȧ_g = δġ (1−g²) − 2 δg g ġ
    (2′) δh₋ = δa W_hh                     (2′˙) by `dual.linear_back`
    (1′) δx = δa W_ih, …                   (1′˙) by `dual.linear_back`

Source: Pearlmutter 1994, applied to `lstm`. All products of vectors are elementwise.
The adjoint is derived on docs/derivatives/second_order.md.
Page: docs/derivatives/tangent.md
"""

from typing import NamedTuple

import numpy as np

from ..arithmetic import NUMPY, Arithmetic
from ..cells.lstm import Params, State
from .dual import Dual, linear, linear_back, make, map_dual, pick, split_columns


class Tape(NamedTuple):
    """The values that the primed equations read, each with its derivative."""

    x: Dual[np.ndarray]
    before: Dual[State]
    gates: list[Dual[np.ndarray]]
    tanh_c: Dual[np.ndarray]
    m: Dual[np.ndarray]


def step(
    params: Dual[Params],
    x: Dual[np.ndarray],
    before: Dual[State],
    arithmetic: Arithmetic = NUMPY,
) -> tuple[Dual[State], Tape]:
    """The State after the step, with its derivative, and the tape."""
    u = linear(x, pick(params, "weight_ih"), pick(params, "bias_ih"))  # (1) (1˙)
    v = linear(pick(before, "h"), pick(params, "weight_hh"), pick(params, "bias_hh"))  # (2) (2˙)
    a_i, a_f, a_g, a_o = split_columns(map_dual(np.add, u, v), 4)
    i, f, o = [arithmetic.sigmoid(a.value) for a in (a_i, a_f, a_o)]  # (3)
    g = arithmetic.tanh(a_g.value)
    i_dot, f_dot, o_dot = i * (1 - i) * a_i.dot, f * (1 - f) * a_f.dot, o * (1 - o) * a_o.dot
    g_dot = (1 - g * g) * a_g.dot  # (3˙)
    c_before, c_before_dot = pick(before, "c")
    c = f * c_before + i * g  # (4)
    c_dot = f_dot * c_before + f * c_before_dot + i_dot * g + i * g_dot  # (4˙)
    tau = arithmetic.tanh(c)
    tau_dot = (1 - tau * tau) * c_dot
    h = m = Dual(o * tau, o_dot * tau + o * tau_dot)  # (5) (5˙)
    if params.value.weight_hr is not None:
        h = linear(m, pick(params, "weight_hr"))  # (6) (6˙)
    gates = [Dual(i, i_dot), Dual(f, f_dot), Dual(g, g_dot), Dual(o, o_dot)]
    return make(State, h, Dual(c, c_dot)), Tape(x, before, gates, Dual(tau, tau_dot), m)


def step_back(
    params: Dual[Params], tape: Tape, delta: Dual[State]
) -> tuple[Dual[np.ndarray], Dual[State], Dual[Params]]:
    """δx, the State δh₋, δc₋ and the Params δθ of one step, each with its derivative."""
    (i, i_dot), (f, f_dot), (g, g_dot), (o, o_dot) = tape.gates
    (tau, tau_dot), (c_before, c_before_dot) = tape.tanh_c, pick(tape.before, "c")
    fields = [pick(params, name) for name in Params._fields]
    weight_ih, weight_hh, bias_ih, bias_hh, weight_hr = fields
    (d_m, d_m_dot), d_weight_hr = pick(delta, "h"), None
    if weight_hr is not None:
        d_h = pick(delta, "h")
        (d_m, d_m_dot), d_weight_hr, _ = linear_back(tape.m, weight_hr, None, d_h)  # (6′) (6′˙)
    d_o, d_o_dot = d_m * tau, d_m_dot * tau + d_m * tau_dot  # (5′) (5′˙)
    d_c = delta.value.c + d_m * o * (1 - tau * tau)
    d_c_dot = delta.dot.c + (d_m_dot * o + d_m * o_dot) * (1 - tau * tau)
    d_c_dot = d_c_dot - 2 * d_m * o * tau * tau_dot
    d_i, d_i_dot = d_c * g, d_c_dot * g + d_c * g_dot  # (4′) (4′˙)
    d_f, d_f_dot = d_c * c_before, d_c_dot * c_before + d_c * c_before_dot
    d_g, d_g_dot = d_c * i, d_c_dot * i + d_c * i_dot
    d_c_before = Dual(d_c * f, d_c_dot * f + d_c * f_dot)
    d_a = [d_i * i * (1 - i), d_f * f * (1 - f), d_g * (1 - g * g), d_o * o * (1 - o)]  # (3′)
    d_a_dot = [
        d_i_dot * i * (1 - i) + d_i * (1 - 2 * i) * i_dot,  # (3′˙)
        d_f_dot * f * (1 - f) + d_f * (1 - 2 * f) * f_dot,
        d_g_dot * (1 - g * g) - 2 * d_g * g * g_dot,
        d_o_dot * o * (1 - o) + d_o * (1 - 2 * o) * o_dot,
    ]
    delta_a = map_dual(np.hstack, Dual(d_a, d_a_dot))
    h_before = pick(tape.before, "h")
    d_x, d_weight_ih, d_bias_ih = linear_back(tape.x, weight_ih, bias_ih, delta_a)  # (1′) (1′˙)
    d_h, d_weight_hh, d_bias_hh = linear_back(  # (2′) (2′˙)
        h_before, weight_hh, bias_hh, delta_a
    )
    d_params = make(Params, d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh, d_weight_hr)
    return d_x, make(State, d_h, d_c_before), d_params
