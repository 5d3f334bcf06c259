"""The simple cell to second order: its step and its adjoint, each with its derivative.

The numbers are those of `rnn`, b_hh in (2); a dot marks the derivative of a line, v̇ as in `dual`.

Forward
    (1)  u = x W_ihᵀ + b_ih                (1˙)  by `dual.linear`
    (2)  a = u + h₋ W_hhᵀ + b_hh           (2˙)  by `dual.linear`
    (3)  h = φ(a)                          (3˙)  ḣ = φ′(a) ⊙ ȧ

Adjoint
    (3′) δa = δh ⊙ φ′(a)                   (3′˙) δȧ = δḣ ⊙ φ′(a) + δh ⊙ φ″(a) ⊙ ȧ
    (2′) δh₋ = δa W_hh                     (2′˙) by `dual.linear_back`
    (1′) δx = δa W_ih, …                   (1′˙) by `dual.linear_back`

φ″(a) ȧ = −2 h ḣ for tanh; 0 for relu, which is straight on either side of its kink.

Source: Williams & Zipser 1989 for the tangent, Pearlmutter 1994 for its adjoint.
Page: docs/derivatives/tangent.md
"""

from typing import NamedTuple

import numpy as np

from .. import activations
from ..cells.rnn import Params, State
from .dual import Dual, both, linear, linear_back, pack, part


class Tape(NamedTuple):
    """What the primed equations read: x, h₋, and φ′(a) with its derivative."""

    x: Dual
    h_before: Dual
    slope: Dual


def step_tanh(params: Dual, x: Dual, before: Dual) -> tuple[Dual, Tape]:
    """The State after the step and its derivative, and the tape."""
    a, h_before = _net_input(params, x, before)
    h = activations.tanh(a.value)  # (3)
    h_dot = (1 - h * h) * a.dot  # (3˙)
    slope = Dual(1 - h * h, -2 * h * h_dot)
    return pack(State, Dual(h, h_dot)), Tape(x, h_before, slope)


def step_relu(params: Dual, x: Dual, before: Dual) -> tuple[Dual, Tape]:
    """The State after the step and its derivative, and the tape."""
    a, h_before = _net_input(params, x, before)
    h = activations.relu(a.value)  # (3)
    open_ = activations.relu_slope(h)
    h_dot = a.dot * open_  # (3˙)
    return pack(State, Dual(h, h_dot)), Tape(x, h_before, Dual(open_, 0))


def step_back(params: Dual, tape: Tape, delta: Dual) -> tuple[Dual, Dual, Dual]:
    """δx, the State δh₋ and the Params δθ of one step, each with its derivative."""
    h, slope = part(delta, "h"), tape.slope
    a = Dual(h.value * slope.value, h.dot * slope.value + h.value * slope.dot)  # (3′) (3′˙)
    weight_ih, weight_hh, bias_ih, bias_hh = [part(params, name) for name in Params._fields]
    d_x, d_weight_ih, d_bias_ih = linear_back(tape.x, weight_ih, bias_ih, a)  # (1′) (1′˙)
    d_h, d_weight_hh, d_bias_hh = linear_back(tape.h_before, weight_hh, bias_hh, a)  # (2′) (2′˙)
    return d_x, pack(State, d_h), pack(Params, d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh)


def _net_input(params: Dual, x: Dual, before: Dual) -> tuple[Dual, Dual]:
    h_before = part(before, "h")
    u = linear(x, part(params, "weight_ih"), part(params, "bias_ih"))  # (1) (1˙)
    v = linear(h_before, part(params, "weight_hh"), part(params, "bias_hh"))  # (2) (2˙)
    return both(np.add, u, v), h_before
