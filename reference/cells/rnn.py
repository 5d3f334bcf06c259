"""The simple recurrent cell and its adjoint.

    x  [n, I]  input           u  [n, H]  net input from x       n  rows of this step
    h  [n, H]  hidden state    a  [n, H]  net input              ₋  the step before
    W_ih [H, I]   W_hh [H, H]   b_ih, b_hh [H]                   ⊙  elementwise product

Forward
    (1)  u = x W_ihᵀ + b_ih + b_hh         all steps at once: nothing here depends on h
    (2)  a = u + h₋ W_hhᵀ                  the only line that depends on the step before
    (3)  h = φ(a)                          φ = tanh or relu

Adjoint                                    δv is ∂L/∂v summed over every path from v to the loss
    (3′) δa = δh ⊙ φ′(a)                   φ′ = 1 − h² for tanh, [h ≠ 0] for relu
    (2′) δh₋ = δa W_hh
    (1′) δx = δa W_ih   δW_ih = Σ δaᵀ x   δW_hh = Σ δaᵀ h₋   δb = Σ δa     Σ over all steps, at once

Source: Elman 1990, with the two biases of torch.nn.RNN; adjoint: Werbos 1990.
Page: docs/cells/rnn.md
"""

from typing import NamedTuple

import numpy as np

from .. import activations
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
    """Empty: the primed equations read only the states."""


class Delta(NamedTuple):
    """δa [N, H], which (1′) reads for the rows of all steps."""

    a: np.ndarray


def parameter_shapes(inputs: int, hidden: int, bias: bool, projected: int = 0) -> Shapes:
    """Name and shape of every parameter of one layer and direction, in torch's order."""
    return packed_shapes(1, inputs, hidden, bias)


def net_input(params: Params, x: np.ndarray) -> np.ndarray:
    """u [N, H] from x [N, I], the rows of all steps."""
    u: np.ndarray = x @ params.weight_ih.T  # (1)
    if params.bias_ih is not None and params.bias_hh is not None:
        u += params.bias_ih + params.bias_hh  # Differs: two biases, as in torch; Elman has one.
    return u


def new_tape(u: np.ndarray) -> Tape:
    """The tape of the N rows of u."""
    return Tape()


def step_tanh(
    params: Params, u: np.ndarray, before: State, tape: Tape, after: State, arithmetic: Arithmetic
) -> None:
    """Fill `after` with one step from `before`."""
    a = np.matmul(before.h, params.weight_hh.T, out=after.h)
    a += u  # (2)
    arithmetic.tanh(a, out=after.h)  # (3)


def step_relu(
    params: Params, u: np.ndarray, before: State, tape: Tape, after: State, arithmetic: Arithmetic
) -> None:
    """Fill `after` with one step from `before`."""
    a = np.matmul(before.h, params.weight_hh.T, out=after.h)
    a += u  # (2)
    arithmetic.relu(a, out=after.h)  # (3)


def new_delta(params: Params, before: State, tape: Tape) -> Delta:
    """An empty Delta of the N rows of all steps; `step_back` fills it."""
    return Delta(np.empty_like(before.h))


def step_back_tanh(
    params: Params, before: State, tape: Tape, after: State, total: State, delta: Delta
) -> None:
    """Replace δh of this step in `total` by that of the step before; fill `delta`."""
    np.multiply(total.h, 1 - after.h * after.h, out=delta.a)  # (3′)
    np.matmul(delta.a, params.weight_hh, out=total.h)  # (2′)


def step_back_relu(
    params: Params, before: State, tape: Tape, after: State, total: State, delta: Delta
) -> None:
    """Replace δh of this step in `total` by that of the step before; fill `delta`."""
    np.multiply(total.h, activations.relu_slope(after.h), out=delta.a)  # (3′)
    np.matmul(delta.a, params.weight_hh, out=total.h)  # (2′)


def gradients(
    params: Params, x: np.ndarray, before: State, tape: Tape, after: State, delta: Delta
) -> tuple[np.ndarray, Params]:
    """δx [N, I] and the gradient of every parameter, summed over the rows of all steps."""
    d_bias_ih = None if params.bias_ih is None else delta.a.sum(axis=0)
    d_bias_hh = None if d_bias_ih is None else d_bias_ih.copy()
    d_weight_ih, d_weight_hh = delta.a.T @ x, delta.a.T @ before.h  # (1′)
    return delta.a @ params.weight_ih, Params(d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh)
