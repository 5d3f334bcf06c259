"""The RNN cell to second order: one step and its adjoint, each with its derivative.

The equation numbers are those of `rnn`, with b_hh in (2); a dot marks the derivative of a line,
with v̇ as in `dual`.

Forward
    (1)  u = x W_ihᵀ + b_ih                (1˙)  by `dual.linear`
    (2)  a = u + h₋ W_hhᵀ + b_hh           (2˙)  by `dual.linear`
    (3)  h = φ(a)                          (3˙)  ḣ = φ′(a) ⊙ ȧ

Adjoint
    (3′) δa = δh ⊙ φ′(a)                   (3′˙) δȧ = δḣ ⊙ φ′(a) + δh ⊙ φ″(a) ⊙ ȧ
    (2′) δh₋ = δa W_hh                     (2′˙) by `dual.linear_back`
    (1′) δx = δa W_ih, …                   (1′˙) by `dual.linear_back`

φ″(a) ȧ = −2 h ḣ for tanh; 0 for relu, which is linear on either side of its kink.

Source: Williams & Zipser 1989 for the tangent; Pearlmutter 1994 for its adjoint.
The adjoint is derived on docs/derivatives/second_order.md.
Page: docs/derivatives/tangent.md
"""

from typing import NamedTuple

import numpy as np

from .. import activations
from ..arithmetic import NUMPY, Arithmetic
from ..cells.rnn import Params, State
from .dual import Dual, linear, linear_back, make, map_dual, pick


class Tape(NamedTuple):
    """The values that the primed equations read: x, h₋, and φ′(a) with its derivative."""

    x: Dual[np.ndarray]
    h_before: Dual[np.ndarray]
    slope: Dual[np.ndarray]


def step_tanh(
    params: Dual[Params],
    x: Dual[np.ndarray],
    before: Dual[State],
    arithmetic: Arithmetic = NUMPY,
) -> tuple[Dual[State], Tape]:
    """The State after the step, with its derivative, and the tape."""
    a, h_before = _net_input(params, x, before)
    h = arithmetic.tanh(a.value)  # (3)
    h_dot = (1 - h * h) * a.dot  # (3˙)
    slope = Dual(1 - h * h, -2 * h * h_dot)
    return make(State, Dual(h, h_dot)), Tape(x, h_before, slope)


def step_relu(
    params: Dual[Params],
    x: Dual[np.ndarray],
    before: Dual[State],
    arithmetic: Arithmetic = NUMPY,
) -> tuple[Dual[State], Tape]:
    """The State after the step, with its derivative, and the tape."""
    a, h_before = _net_input(params, x, before)
    h = arithmetic.relu(a.value)  # (3)
    slope = activations.relu_slope(h)
    h_dot = a.dot * slope  # (3˙)
    return make(State, Dual(h, h_dot)), Tape(x, h_before, Dual(slope, np.zeros_like(slope)))


def step_back(
    params: Dual[Params], tape: Tape, delta: Dual[State]
) -> tuple[Dual[np.ndarray], Dual[State], Dual[Params]]:
    """δx, the State δh₋ and the Params δθ of one step, each with its derivative."""
    h, slope = pick(delta, "h"), tape.slope
    d_a = Dual(h.value * slope.value, h.dot * slope.value + h.value * slope.dot)  # (3′) (3′˙)
    weight_ih, weight_hh, bias_ih, bias_hh = [pick(params, name) for name in Params._fields]
    d_x, d_weight_ih, d_bias_ih = linear_back(tape.x, weight_ih, bias_ih, d_a)  # (1′) (1′˙)
    d_h, d_weight_hh, d_bias_hh = linear_back(tape.h_before, weight_hh, bias_hh, d_a)  # (2′) (2′˙)
    return d_x, make(State, d_h), make(Params, d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh)


def _net_input(
    params: Dual[Params], x: Dual[np.ndarray], before: Dual[State]
) -> tuple[Dual[np.ndarray], Dual[np.ndarray]]:
    h_before = pick(before, "h")
    u = linear(x, pick(params, "weight_ih"), pick(params, "bias_ih"))  # (1) (1˙)
    v = linear(h_before, pick(params, "weight_hh"), pick(params, "bias_hh"))  # (2) (2˙)
    return map_dual(np.add, u, v), h_before
