"""The gates of one step as plain values, computed gate by gate as in textbooks.

    x [n, I]   h, c [n, ·] the state before   a_k [n, H] net input of gate k   ⊙  elementwise

    (1)  a_k = x W_ih,kᵀ + b_ih,k + h W_hh,kᵀ + b_hh,k          for every gate k
    (2)  GRU:  r, z = σ(a_r), σ(a_z)    v = h W_hh,nᵀ + b_hh,n
         n = tanh(u + r ⊙ v)            u = x W_ih,nᵀ + b_ih,n, so that a_n = u + v
    (3)  LSTM: i, f, o = σ(a_i), σ(a_f), σ(a_o)    g = tanh(a_g)    c_new = f ⊙ c + i ⊙ g

These functions show how open the gates of a net are, step by step. The cells compute (1) for all
gates and steps together; a test asserts that both agree.

Source: Hochreiter & Schmidhuber 1997; Gers et al. 2000; Cho et al. 2014, as torch.nn computes them.
Page: docs/dynamics/memory.md
"""

from typing import NamedTuple, Protocol

import numpy as np

from .. import activations


class Weights(Protocol):
    """The parameters that every cell has; a subset of the fields of its Params."""

    @property
    def weight_ih(self) -> np.ndarray: ...
    @property
    def weight_hh(self) -> np.ndarray: ...
    @property
    def bias_ih(self) -> np.ndarray | None: ...
    @property
    def bias_hh(self) -> np.ndarray | None: ...


class RNN(NamedTuple):
    """The net input [n, H] of the simple cell, which has no gates."""

    a: np.ndarray


class GRU(NamedTuple):
    """r, z, n [n, H]: reset, update, candidate; v [n, H]: the candidate's net input from h."""

    r: np.ndarray
    z: np.ndarray
    n: np.ndarray
    v: np.ndarray


class LSTM(NamedTuple):
    """i, f, g, o, c [n, H]: input, forget, candidate and output gate, and the new cell state."""

    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    c: np.ndarray


def rnn(params: Weights, x: np.ndarray, h: np.ndarray) -> RNN:
    """The net input [n, H] of the simple cell, from x [n, I] and h [n, H]."""
    return RNN(net_input(params, x, h))


def gru(params: Weights, x: np.ndarray, h: np.ndarray) -> GRU:
    """The gates of a GRU, from x [n, I] and h [n, H]."""
    u_r, u_z, u_n = np.split(_from_x(params, x), 3, axis=1)
    v_r, v_z, v = np.split(_from_h(params, h), 3, axis=1)
    r, z = activations.sigmoid(u_r + v_r), activations.sigmoid(u_z + v_z)
    return GRU(r, z, np.tanh(u_n + r * v), v)  # (2)


def lstm(params: Weights, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> LSTM:
    """The gates of an LSTM, from x [n, I], h [n, P or H] and c [n, H]."""
    a_i, a_f, a_g, a_o = np.split(net_input(params, x, h), 4, axis=1)
    i, f, o = activations.sigmoid(a_i), activations.sigmoid(a_f), activations.sigmoid(a_o)
    g = np.tanh(a_g)
    return LSTM(i, f, g, o, f * c + i * g)  # (3)


def net_input(params: Weights, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """a [n, G·H] of all gates of a cell that adds the parts from x and from h directly."""
    a: np.ndarray = _from_x(params, x) + _from_h(params, h)  # (1)
    return a


def _from_x(params: Weights, x: np.ndarray) -> np.ndarray:
    u: np.ndarray = x @ params.weight_ih.T
    return u if params.bias_ih is None else u + params.bias_ih


def _from_h(params: Weights, h: np.ndarray) -> np.ndarray:
    v: np.ndarray = h @ params.weight_hh.T
    return v if params.bias_hh is None else v + params.bias_hh
