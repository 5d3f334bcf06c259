"""The LSTM cell and its adjoint, with or without a projection of h.

    x  [n, I]  input            u  [n, 4H]  net input from x        n  rows alive at this step
    c  [n, H]  cell state       a  [n, 4H]  net input               ₋  the step before
    m  [n, H]  gated cell       i f g o  [n, H]  gates              ⊙  elementwise product
    h  [n, P]  hidden state     W_ih [4H, I]   W_hh [4H, P]   W_hr [P, H]   b_ih, b_hh [4H]

Forward                                    u, a are packed i f g o, as in torch.nn.LSTM
    (1)  u = x W_ihᵀ + b_ih + b_hh         every step at once: nothing here waits for h
    (2)  a = u + h₋ W_hhᵀ                  the only line that time makes sequential
    (3)  i, f, o = σ(a_i), σ(a_f), σ(a_o)  g = tanh(a_g)
    (4)  c = f ⊙ c₋ + i ⊙ g
    (5)  m = o ⊙ tanh(c)
    (6)  h = m W_hrᵀ                       h = m and P = H where there is no projection

Adjoint                                    δv is ∂L/∂v summed over every path from v to the loss
    (6′) δm = δh W_hr
    (5′) δo = δm ⊙ tanh(c)                 δc += δm ⊙ o ⊙ (1 − tanh²c)
    (4′) δi = δc ⊙ g   δf = δc ⊙ c₋   δg = δc ⊙ i   δc₋ = δc ⊙ f
    (3′) δa_k = δk ⊙ k ⊙ (1 − k) for k in i f o     δa_g = δg ⊙ (1 − g²)
    (2′) δh₋ = δa W_hh
    (1′) δx = δa W_ih   δW_ih = Σ δaᵀ x   δW_hh = Σ δaᵀ h₋   δb = Σ δa   δW_hr = Σ δhᵀ m
    What multiplies δ on its way to a, and δm on its way to c, waits for no δ: these slopes are
    taken at every step at once.

Source: Hochreiter & Schmidhuber 1997; forget gate, Gers et al. 2000; projection, Sak et al. 2014;
the adjoint's δ as in Greff et al. 2017.
Page: docs/cells/lstm.md
"""

from typing import Any, NamedTuple

import numpy as np

from .. import activations


class Params(NamedTuple):
    """Weights in torch's shapes; biases and projection may be absent. Its gradient is one too."""

    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias_ih: np.ndarray | None = None
    bias_hh: np.ndarray | None = None
    weight_hr: np.ndarray | None = None


class State(NamedTuple):
    """What one step hands to the next."""

    h: np.ndarray
    c: np.ndarray


class Tape(NamedTuple):
    """What the primed equations read beside the states: i f g o packed, and tanh(c)."""

    gates: np.ndarray
    tanh_c: np.ndarray


class Delta(NamedTuple):
    """What (1′) reads of every step: δa packed i f g o, and δh where there is a projection.

    Before `step_back` comes by, a holds its slopes; s_c is that of what c takes from m.
    """

    a: np.ndarray
    h: Any
    s_c: np.ndarray


def by_gate(packed: np.ndarray) -> np.ndarray:
    """[4H, ·] seen as [4, H, ·]."""
    return packed.reshape(4, len(packed) // 4, *packed.shape[1:])


def net_input(params: Params, x: np.ndarray) -> np.ndarray:
    """u [4, N, H] from x [N, I], the rows of all steps."""
    u = x @ by_gate(params.weight_ih).swapaxes(1, 2)  # (1)
    if params.bias_ih is not None:
        u += by_gate(params.bias_ih + params.bias_hh)[:, None]
    return u


def new_tape(u: np.ndarray) -> Tape:
    """A tape of the N rows of u for `step` to fill; the gates overwrite u."""
    return Tape(u, np.empty_like(u[0]))


def step(params: Params, u: np.ndarray, before: State, tape: Tape, after: State) -> None:
    """From `before`, fill `tape` and `after`."""
    a = u
    a += before.h @ by_gate(params.weight_hh).swapaxes(1, 2)  # (2)
    i, f, g, o = a
    for k in (i, f, o):
        activations.sigmoid(k, out=k)  # (3)
    activations.tanh(g, out=g)
    np.multiply(f, before.c, out=after.c)
    np.add(after.c, i * g, out=after.c)  # (4)
    activations.tanh(after.c, out=tape.tanh_c)
    if params.weight_hr is None:
        np.multiply(o, tape.tanh_c, out=after.h)  # (5)
    else:
        np.matmul(o * tape.tanh_c, params.weight_hr.T, out=after.h)  # (5) (6)


def slopes(params: Params, before: State, tape: Tape, after: State) -> Delta:
    """s of every row, by (5′) (4′) (3′): δa_k = δc ⊙ s_k for k in i f g, δa_o = δm ⊙ s_o,
    and δc += δm ⊙ s_c."""
    i, f, g, o = tape.gates
    rows, H = f.shape
    s = np.empty_like(f, shape=(rows, 4, H))
    s_i, s_f, s_g, s_o = s.swapaxes(0, 1)
    s_c = np.empty_like(f)  # until its turn comes, room for the σ′ and tanh′ of the others
    np.multiply(g, activations.sigmoid_slope(i, out=s_c), out=s_i)  # (4′) (3′)
    np.multiply(before.c, activations.sigmoid_slope(f, out=s_c), out=s_f)  # (4′) (3′)
    np.multiply(i, activations.tanh_slope(g, out=s_c), out=s_g)  # (4′) (3′)
    np.multiply(tape.tanh_c, activations.sigmoid_slope(o, out=s_c), out=s_o)  # (5′) (3′)
    np.multiply(o, activations.tanh_slope(tape.tanh_c, out=s_c), out=s_c)  # (5′)
    delta_h = None if params.weight_hr is None else np.empty_like(before.h)
    return Delta(s.reshape(rows, 4 * H), delta_h, s_c)


def step_back(params: Params, tape: Tape, total: State, delta: Delta) -> None:
    """Take `total` from δh, δc of this step to those of the step before, `delta` to δ."""
    f = tape.gates[1]
    delta_a = delta.a.reshape(len(f), 4, f.shape[1])
    delta_ifg, delta_o = delta_a[:, :3], delta_a[:, 3]
    delta_c, delta_m = total.c, total.h
    if params.weight_hr is not None:
        delta.h[:] = total.h
        delta_m = total.h @ params.weight_hr  # (6′)
    delta_o *= delta_m  # (5′) (3′)
    delta_c += delta_m * delta.s_c  # (5′)
    delta_ifg *= delta_c[:, None]  # (4′) (3′)
    delta_c *= f  # (4′)
    np.matmul(delta.a, params.weight_hh, out=total.h)  # (2′)


def gradients(
    params: Params, x: np.ndarray, h_before: np.ndarray, tape: Tape, delta: Delta
) -> tuple[np.ndarray, Params]:
    """δx [N, I] and the gradient of every parameter, from the rows of all steps."""
    d_bias_ih = None if params.bias_ih is None else delta.a.sum(axis=0)
    d_bias_hh = None if d_bias_ih is None else d_bias_ih.copy()
    d_weight_hr = None
    if params.weight_hr is not None:
        d_weight_hr = delta.h.T @ (tape.gates[3] * tape.tanh_c)
    d_weights = delta.a.T @ x, delta.a.T @ h_before  # (1′)
    return delta.a @ params.weight_ih, Params(*d_weights, d_bias_ih, d_bias_hh, d_weight_hr)
