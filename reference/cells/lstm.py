"""The LSTM cell and its adjoint, with or without a projection of h.

    x  [n, I]  input            u  [n, 4H]  net input from x        n  rows of this step
    c  [n, H]  cell state       a  [n, 4H]  net input               ₋  the step before
    m  [n, H]  gated cell       i f g o  [n, H]  gates              ⊙  elementwise product
    h  [n, P]  hidden state     W_ih [4H, I]   W_hh [4H, P]   W_hr [P, H]   b_ih, b_hh [4H]

    The gates are i input, f forget, g candidate, o output. The code stores u and a as [4, n, H],
    one block for each gate, and δa as [n, 4H].

Forward                                    u, a are packed i f g o, as in torch.nn.LSTM
    (1)  u = x W_ihᵀ + b_ih + b_hh         all steps at once: nothing here depends on h
    (2)  a = u + h₋ W_hhᵀ                  the only line that depends on the step before
    (3)  i, f, o = σ(a_i), σ(a_f), σ(a_o)  g = tanh(a_g)
    (4)  c = f ⊙ c₋ + i ⊙ g
    (5)  m = o ⊙ tanh(c)
    (6)  h = m W_hrᵀ                       without a projection h = m and P = H

Adjoint                                    δv is ∂L/∂v summed over every path from v to the loss
    (6′) δm = δh W_hr
    (5′) δo = δm ⊙ tanh(c)                 δc += δm ⊙ o ⊙ (1 − tanh²c)
    (4′) δi = δc ⊙ g   δf = δc ⊙ c₋   δg = δc ⊙ i   δc₋ = δc ⊙ f
    (3′) δa_k = δk ⊙ k ⊙ (1 − k) for k in i f o     δa_g = δg ⊙ (1 − g²)
    (2′) δh₋ = δa W_hh
    (1′) δx = δa W_ih   δW_ih = Σ δaᵀ x   δW_hh = Σ δaᵀ h₋   δb = Σ δa   δW_hr = Σ δhᵀ m
         Σ is over the rows of all steps; δb is the gradient of b_ih and of b_hh

Source: Hochreiter & Schmidhuber 1997; forget gate, Gers et al. 2000; projection, Sak et al. 2014;
the adjoint's δ as in Greff et al. 2017.
Differs: tanh in place of the scaled σ of 1997; no peepholes; torch has two biases.
Page: docs/cells/lstm.md
"""

from typing import NamedTuple

import numpy as np

from ..arithmetic import Arithmetic
from .cell import Shapes, packed_shapes


class Params(NamedTuple):
    """In torch's shapes; biases and projection may be None. The gradient is a Params too."""

    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias_ih: np.ndarray | None = None
    bias_hh: np.ndarray | None = None
    weight_hr: np.ndarray | None = None


class State(NamedTuple):
    """The state between two steps, rows [n, ·]. The gradient is a State too."""

    h: np.ndarray
    c: np.ndarray


class Tape(NamedTuple):
    """The values that the primed equations read besides the states."""

    gates: np.ndarray  # i f g o, [4, N, H]
    tanh_c: np.ndarray  # [N, H]


class Delta(NamedTuple):
    """The adjoints that (1′) reads, for the rows of all steps."""

    a: np.ndarray  # δa packed i f g o, [N, 4H]
    h: np.ndarray | None  # δh [N, P] if there is a projection


def parameter_shapes(inputs: int, hidden: int, bias: bool, projected: int = 0) -> Shapes:
    """Name and shape of every parameter of one layer and direction, in torch's order."""
    return packed_shapes(4, inputs, hidden, bias, projected)


def by_gate(packed: np.ndarray) -> np.ndarray:
    """A view [4, H, ·] of [4H, ·]."""
    return packed.reshape(4, len(packed) // 4, *packed.shape[1:])


def net_input(params: Params, x: np.ndarray) -> np.ndarray:
    """u [4, N, H] from x [N, I], the rows of all steps."""
    u: np.ndarray = x @ by_gate(params.weight_ih).swapaxes(1, 2)  # (1)
    if params.bias_ih is not None and params.bias_hh is not None:
        # Differs: two biases, as in torch; the papers have one.
        u += by_gate(params.bias_ih + params.bias_hh)[:, None]
    return u


def new_tape(u: np.ndarray) -> Tape:
    """The tape of N rows: u [4, N, H] itself and an empty tanh_c [N, H]; `step` fills both.

    `step` overwrites its rows of u, first with a, then with the gates.
    """
    return Tape(u, np.empty_like(u[0]))


def step(
    params: Params, u: np.ndarray, before: State, tape: Tape, after: State, arithmetic: Arithmetic
) -> None:
    """Fill `tape` and `after`, views of n rows, with one step from `before`.

    u [4, n, H] shares the memory of `tape.gates`; h is [n, P], c [n, H].
    """
    a = u
    a += before.h @ by_gate(params.weight_hh).swapaxes(1, 2)  # (2)
    i, f, g, o = a
    # Differs: no peepholes, which Sak et al. and Greff et al. have; see `lstm_peephole`.
    for k in (i, f, o):
        arithmetic.sigmoid(k, out=k)  # (3)
    # Differs: tanh(a_g) and tanh(c); in 1997 they are 4σ(a_g) − 2 and 2σ(c) − 1.
    arithmetic.tanh(g, out=g)
    np.add(f * before.c, i * g, out=after.c)  # (4)
    arithmetic.tanh(after.c, out=tape.tanh_c)
    m = o * tape.tanh_c  # (5)
    after.h[:] = m if params.weight_hr is None else m @ params.weight_hr.T  # (6)


def new_delta(params: Params, before: State, tape: Tape) -> Delta:
    """An empty Delta of the N rows of all steps; `step_back` fills it.

    `before` holds the state before each of the N rows. Every cell has this signature; the LSTM does
    not read `tape`.
    """
    a = np.empty_like(before.c, shape=(len(before.c), len(params.weight_hh)))
    return Delta(a, None if params.weight_hr is None else np.empty_like(before.h))


def step_back(
    params: Params, before: State, tape: Tape, after: State, total: State, delta: Delta
) -> None:
    """Replace δh [n, P], δc [n, H] of this step in `total` by those of the step before.

    Fills `delta`. All arguments but `params` are views of the n rows of this step.
    """
    (i, f, g, o), tanh_c = tape
    delta_m = total.h
    if params.weight_hr is not None and delta.h is not None:
        delta.h[:] = total.h
        delta_m = total.h @ params.weight_hr  # (6′)
    delta_o = delta_m * tanh_c  # (5′)
    delta_c = total.c + delta_m * o * (1 - tanh_c * tanh_c)
    delta_i, delta_f, delta_g = delta_c * g, delta_c * before.c, delta_c * i  # (4′)
    np.multiply(delta_c, f, out=total.c)
    delta_a = delta.a.reshape(len(f), 4, f.shape[1])
    delta_a[:, 0] = delta_i * i * (1 - i)  # (3′)
    delta_a[:, 1] = delta_f * f * (1 - f)
    delta_a[:, 2] = delta_g * (1 - g * g)
    delta_a[:, 3] = delta_o * o * (1 - o)
    np.matmul(delta.a, params.weight_hh, out=total.h)  # (2′)


def gradients(
    params: Params, x: np.ndarray, before: State, tape: Tape, after: State, delta: Delta
) -> tuple[np.ndarray, Params]:
    """δx [N, I] and the gradient of every parameter, summed over the rows of all steps.

    Every cell has this signature; the LSTM does not read `after`.
    """
    d_bias_ih = None if params.bias_ih is None else delta.a.sum(axis=0)
    d_bias_hh = None if d_bias_ih is None else d_bias_ih.copy()
    d_weight_hr = None if delta.h is None else delta.h.T @ (tape.gates[3] * tape.tanh_c)
    d_weights = delta.a.T @ x, delta.a.T @ before.h  # (1′)
    return delta.a @ params.weight_ih, Params(*d_weights, d_bias_ih, d_bias_hh, d_weight_hr)
