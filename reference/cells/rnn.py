"""The simple recurrent cell and its adjoint.

    x  [n, I]  input           u  [n, H]  net input from x       n  rows alive at this step
    h  [n, H]  hidden state    a  [n, H]  net input              ₋  the step before
    W_ih [H, I]   W_hh [H, H]   b_ih, b_hh [H]                   ⊙  elementwise product

Forward
    (1)  u = x W_ihᵀ + b_ih + b_hh         every step at once: nothing here waits for h
    (2)  a = u + h₋ W_hhᵀ                  the only line that time makes sequential
    (3)  h = φ(a)                          φ = tanh or relu

Adjoint                                    δv is ∂L/∂v summed over every path from v to the loss
    (3′) δa = δh ⊙ φ′(a)                   φ′ = 1 − h² for tanh, [h ≠ 0] for relu
    (2′) δh₋ = δa W_hh
    (1′) δx = δa W_ih   δW_ih = Σ δaᵀ x   δW_hh = Σ δaᵀ h₋   δb = Σ δa     Σ over all steps, at once
    φ′ waits for no δ: these slopes are taken at every step at once.

Source: Elman 1990, with the two biases of torch.nn.RNN; adjoint: Werbos 1990.
Page: docs/cells/rnn.md
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
    """Nothing: the primed equations read the states alone."""


class Delta(NamedTuple):
    """What (1′) reads of every step; before `step_back` comes by, its slopes."""

    a: np.ndarray


def net_input(params: Params, x: np.ndarray) -> np.ndarray:
    """u [N, H] from x [N, I], the rows of all steps."""
    u = x @ params.weight_ih.T  # (1)
    if params.bias_ih is not None:
        u += params.bias_ih + params.bias_hh
    return u


def new_tape(u: np.ndarray) -> Tape:
    """A tape of the N rows of u for `step` to fill."""
    return Tape()


def step_tanh(params: Params, u: np.ndarray, before: State, tape: Tape, after: State) -> None:
    """From `before`, fill `after`."""
    a = np.matmul(before.h, params.weight_hh.T, out=after.h)
    a += u  # (2)
    activations.tanh(a, out=a)  # (3)


def step_relu(params: Params, u: np.ndarray, before: State, tape: Tape, after: State) -> None:
    """From `before`, fill `after`."""
    a = np.matmul(before.h, params.weight_hh.T, out=after.h)
    a += u  # (2)
    activations.relu(a, out=a)  # (3)


def slopes_tanh(params: Params, before: State, tape: Tape, after: State) -> Delta:
    """s = φ′ of every row: δa = δh ⊙ s, by (3′)."""
    return Delta(activations.tanh_slope(after.h))  # (3′)


def slopes_relu(params: Params, before: State, tape: Tape, after: State) -> Delta:
    """s = φ′ of every row: δa = δh ⊙ s, by (3′)."""
    return Delta(activations.relu_slope(after.h))  # (3′)


def step_back(params: Params, tape: Tape, total: State, delta: Delta) -> None:
    """Take `total` from δh of this step to that of the step before, `delta` from slope to δ."""
    np.multiply(total.h, delta.a, out=delta.a)  # (3′)
    np.matmul(delta.a, params.weight_hh, out=total.h)  # (2′)


def gradients(
    params: Params, x: np.ndarray, h_before: np.ndarray, tape: Tape, delta: Delta
) -> tuple[np.ndarray, Params]:
    """δx [N, I] and the gradient of every parameter, from the rows of all steps."""
    d_bias_ih = None if params.bias_ih is None else delta.a.sum(axis=0)
    d_bias_hh = None if d_bias_ih is None else d_bias_ih.copy()
    d_params = Params(delta.a.T @ x, delta.a.T @ h_before, d_bias_ih, d_bias_hh)  # (1′)
    return delta.a @ params.weight_ih, d_params
