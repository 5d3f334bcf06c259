"""The LSTM with peepholes, whose gates also read the cell state, and its adjoint.

    x  [n, I]  input            u  [n, 4H]  net input from x        n  rows of this step
    c  [n, H]  cell state       a  [n, 4H]  net input               ₋  the step before
    h  [n, H]  hidden state     i f g o  [n, H]  gates              ⊙  elementwise product
    W_ih [4H, I]   W_hh [4H, H]   b_ih, b_hh [4H]   w_ch [3H], its parts p_i p_f p_o [H]

Forward                                    u, a are packed i f g o; w_ch is packed i f o
    (1)  u = x W_ihᵀ + b_ih + b_hh         all steps at once: nothing here depends on h or c
    (2)  a = u + h₋ W_hhᵀ
    (3)  i, f = σ(a_i + p_i ⊙ c₋), σ(a_f + p_f ⊙ c₋)    g = tanh(a_g)
    (4)  c = f ⊙ c₋ + i ⊙ g
    (5)  o = σ(a_o + p_o ⊙ c)              the output gate reads the new cell state
    (6)  h = o ⊙ tanh(c)

Adjoint                                    δv is ∂L/∂v summed over every path from v to the loss
    (6′) δo = δh ⊙ tanh(c)                 δc += δh ⊙ o ⊙ (1 − tanh²c)
    (5′) δa_o = δo ⊙ o ⊙ (1 − o)           δc += δa_o ⊙ p_o
    (4′) δi = δc ⊙ g   δf = δc ⊙ c₋   δg = δc ⊙ i   δc₋ = δc ⊙ f
    (3′) δa_k = δk ⊙ k ⊙ (1 − k) for k in i f     δa_g = δg ⊙ (1 − g²)
         δc₋ += δa_i ⊙ p_i + δa_f ⊙ p_f
    (2′) δh₋ = δa W_hh
    (1′) δx = δa W_ih   δW_ih = Σ δaᵀ x   δW_hh = Σ δaᵀ h₋   δb = Σ δa
         δp_i = Σ δa_i ⊙ c₋   δp_f = Σ δa_f ⊙ c₋   δp_o = Σ δa_o ⊙ c

Source: Gers & Schmidhuber 2000; Graves 2013, eqs. 7-11, with diagonal peepholes; the operator LSTM
of ONNX.
Differs: w_ch is packed i f o; ONNX packs P as i o f.
Page: docs/cells/lstm_peephole.md
"""

from typing import NamedTuple

import numpy as np

from .. import activations
from ..arithmetic import Arithmetic
from . import gates
from .cell import Shapes, packed_shapes
from .lstm import State, by_gate


class Params(NamedTuple):
    """Weights in the shapes of torch.nn.LSTM, and the peepholes. The gradient is a Params too."""

    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias_ih: np.ndarray | None
    bias_hh: np.ndarray | None
    weight_ch: np.ndarray


class Tape(NamedTuple):
    """The values that the primed equations read besides the states."""

    gates: np.ndarray  # i f g o, [4, N, H]
    tanh_c: np.ndarray  # [N, H]


class Delta(NamedTuple):
    """The adjoints that (1′) reads, for the rows of all steps."""

    a: np.ndarray  # δa packed i f g o, [N, 4H]


def parameter_shapes(inputs: int, hidden: int, bias: bool, projected: int = 0) -> Shapes:
    """Name and shape of every parameter of one layer and direction, in torch's order."""
    return packed_shapes(4, inputs, hidden, bias) | {"weight_ch": (3 * hidden,)}


def net_input(params: Params, x: np.ndarray) -> np.ndarray:
    """u [4, N, H] from x [N, I], the rows of all steps."""
    u: np.ndarray = x @ by_gate(params.weight_ih).swapaxes(1, 2)  # (1)
    if params.bias_ih is not None and params.bias_hh is not None:
        u += by_gate(params.bias_ih + params.bias_hh)[:, None]
    return u


def new_tape(u: np.ndarray) -> Tape:
    """Room for the tape of N rows; `step` overwrites u, first with a, then with the gates."""
    return Tape(u, np.empty_like(u[0]))


def step(
    params: Params, u: np.ndarray, before: State, tape: Tape, after: State, arithmetic: Arithmetic
) -> None:
    """Fill `tape` and `after` with one step from `before`."""
    # Differs: packed i f o, in the order of the gates; ONNX packs P as i o f.
    p_i, p_f, p_o = np.split(params.weight_ch, 3)
    a = u
    a += before.h @ by_gate(params.weight_hh).swapaxes(1, 2)  # (2)
    i, f, g, o = a
    arithmetic.sigmoid(i + p_i * before.c, out=i)  # (3)
    arithmetic.sigmoid(f + p_f * before.c, out=f)
    arithmetic.tanh(g, out=g)
    np.add(f * before.c, i * g, out=after.c)  # (4)
    arithmetic.sigmoid(o + p_o * after.c, out=o)  # (5)
    arithmetic.tanh(after.c, out=tape.tanh_c)
    np.multiply(o, tape.tanh_c, out=after.h)  # (6)


def new_delta(params: Params, before: State, tape: Tape) -> Delta:
    """An empty Delta of the N rows of all steps; `step_back` fills it."""
    return Delta(np.empty_like(before.c, shape=(len(before.c), len(params.weight_hh))))


def step_back(
    params: Params, before: State, tape: Tape, after: State, total: State, delta: Delta
) -> None:
    """Replace δh, δc of this step in `total` by those of the step before; fill `delta`."""
    p_i, p_f, p_o = np.split(params.weight_ch, 3)
    (i, f, g, o), tanh_c = tape
    delta_a = delta.a.reshape(len(f), 4, f.shape[1])
    delta_o = total.h * tanh_c  # (6′)
    delta_c = total.c + total.h * o * (1 - tanh_c * tanh_c)
    delta_a[:, 3] = delta_o * o * (1 - o)  # (5′)
    delta_c += delta_a[:, 3] * p_o
    delta_i, delta_f, delta_g = delta_c * g, delta_c * before.c, delta_c * i  # (4′)
    delta_c_before = delta_c * f
    delta_a[:, 0] = delta_i * i * (1 - i)  # (3′)
    delta_a[:, 1] = delta_f * f * (1 - f)
    delta_a[:, 2] = delta_g * (1 - g * g)
    total.c[:] = delta_c_before + delta_a[:, 0] * p_i + delta_a[:, 1] * p_f
    np.matmul(delta.a, params.weight_hh, out=total.h)  # (2′)


def gradients(
    params: Params, x: np.ndarray, before: State, tape: Tape, after: State, delta: Delta
) -> tuple[np.ndarray, Params]:
    """δx [N, I] and the gradient of every parameter, summed over the rows of all steps."""
    d_bias_ih = None if params.bias_ih is None else delta.a.sum(axis=0)
    d_bias_hh = None if d_bias_ih is None else d_bias_ih.copy()
    d_a_i, d_a_f, _, d_a_o = np.split(delta.a, 4, axis=1)
    d_p = [(d_a_i * before.c).sum(axis=0), (d_a_f * before.c).sum(axis=0)]  # (1′)
    d_weight_ch = np.concatenate([*d_p, (d_a_o * after.c).sum(axis=0)])
    d_weights = delta.a.T @ x, delta.a.T @ before.h
    return delta.a @ params.weight_ih, Params(*d_weights, d_bias_ih, d_bias_hh, d_weight_ch)


def read_gates(params: Params, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> gates.LSTM:
    """The gates [n, H] of one step as plain values, from x [n, I] and the state before it."""
    p_i, p_f, p_o = np.split(params.weight_ch, 3)
    a_i, a_f, a_g, a_o = np.split(gates.net_input(params, x, h), 4, axis=1)
    i, f = activations.sigmoid(a_i + p_i * c), activations.sigmoid(a_f + p_f * c)
    g = activations.tanh(a_g)
    c_new = f * c + i * g
    return gates.LSTM(i, f, g, activations.sigmoid(a_o + p_o * c_new), c_new)
