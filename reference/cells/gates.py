"""The gates of one step as plain values, spelled as the textbooks spell them, gate by gate.

    x [n, I]   h, c [n, ·] the state before   a  net inputs [n, H] of each gate   ⊙  elementwise

    (1)  a_k = x W_ih,kᵀ + b_ih,k + h W_hh,kᵀ + b_hh,k          k: the gate whose rows are taken
    (2)  GRU:  r, z = σ(a_r), σ(a_z)    v = h W_hh,nᵀ + b_hh,n
         n = tanh(u + r ⊙ v)            u = x W_ih,nᵀ + b_ih,n, so that a_n = u + v
    (3)  LSTM: i, f, o = σ(a_i), σ(a_f), σ(a_o)    g = tanh(a_g)    c_new = f ⊙ c + i ⊙ g

These functions show how open the gates of a net are, step by step. The cells themselves compute
(1) for all gates and steps together; a test asserts that both agree.

Source: Hochreiter & Schmidhuber 1997; Gers et al. 2000; Cho et al. 2014, as torch.nn computes them.
Page: docs/dynamics/memory.md
"""

from typing import Any, NamedTuple

import numpy as np

from .. import activations


class RNN(NamedTuple):
    """The net input [n, H] of the simple cell, which has no gates."""

    a: np.ndarray


class GRU(NamedTuple):
    """Reset, update, candidate, and the candidate's net input from h before the reset gate."""

    r: np.ndarray
    z: np.ndarray
    n: np.ndarray
    v: np.ndarray


class LSTM(NamedTuple):
    """Input, forget, candidate and output gate, and the new cell state."""

    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    c: np.ndarray


def rnn(params: Any, x: np.ndarray, h: np.ndarray) -> RNN:
    """The net input of the simple cell."""
    return RNN(net_input(params, x, h))


def gru(params: Any, x: np.ndarray, h: np.ndarray) -> GRU:
    """The gates of a GRU."""
    u_r, u_z, u_n = np.split(_from_x(params, x), 3, axis=1)
    v_r, v_z, v = np.split(_from_h(params, h), 3, axis=1)
    r, z = activations.sigmoid(u_r + v_r), activations.sigmoid(u_z + v_z)
    return GRU(r, z, np.tanh(u_n + r * v), v)  # (2)


def lstm(params: Any, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> LSTM:
    """The gates of an LSTM, with or without a projection of h."""
    a_i, a_f, a_g, a_o = np.split(net_input(params, x, h), 4, axis=1)
    i, f, o = activations.sigmoid(a_i), activations.sigmoid(a_f), activations.sigmoid(a_o)
    g = np.tanh(a_g)
    return LSTM(i, f, g, o, f * c + i * g)  # (3)


def net_input(params: Any, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """a [n, G·H] of all gates of a cell in which nothing comes between its two parts."""
    return _from_x(params, x) + _from_h(params, h)  # (1)


def _from_x(params: Any, x: np.ndarray) -> np.ndarray:
    u = x @ params.weight_ih.T
    return u if params.bias_ih is None else u + params.bias_ih


def _from_h(params: Any, h: np.ndarray) -> np.ndarray:
    v = h @ params.weight_hh.T
    return v if params.bias_hh is None else v + params.bias_hh
