"""One step of one row of each cell, element by element, as textbooks print the equations.

It shares no code with the reference: no matrix products, no packed gates, no tape.
"""

import numpy as np


def sigmoid(a):
    """1 / (1 + e^(−a)), for arguments that do not overflow."""
    return 1 / (1 + np.exp(-a))


def affine(W, x, b=None):
    """Σ_i W_ji x_i + b_j for every j, summed one term at a time."""
    rows = [sum(W[j, i] * x[i] for i in range(len(x))) for j in range(len(W))]
    return np.array(rows) if b is None else np.array([a + b[j] for j, a in enumerate(rows)])


def gate(params, k, side, z):
    """W z + b with block k of weight_ih or weight_hh, and of its bias."""
    H = gate_rows(params)
    rows = slice(k * H, (k + 1) * H)
    bias = params.get(f"bias_{side}")
    return affine(params[f"weight_{side}"][rows], z, None if bias is None else bias[rows])


def gate_rows(params):
    """H; with a projection the width of weight_hh is P instead."""
    return params.get("weight_hr", params["weight_hh"]).shape[1]


def rnn_tanh(params, x, h):
    """h = tanh(W_ih x + b_ih + W_hh h + b_hh)."""
    return (np.tanh(gate(params, 0, "ih", x) + gate(params, 0, "hh", h)),)


def rnn_relu(params, x, h):
    """h = max(0, W_ih x + b_ih + W_hh h + b_hh)."""
    a = gate(params, 0, "ih", x) + gate(params, 0, "hh", h)
    return (np.array([v if v.real > 0 else v * 0 for v in a]),)


def gru(params, x, h):
    """Reset, update and candidate; the reset gate acts after the matrix product."""
    r = sigmoid(gate(params, 0, "ih", x) + gate(params, 0, "hh", h))
    z = sigmoid(gate(params, 1, "ih", x) + gate(params, 1, "hh", h))
    n = np.tanh(gate(params, 2, "ih", x) + r * gate(params, 2, "hh", h))
    return ((1 - z) * n + z * h,)


def gru_as_published(params, x, h):
    """The reset gate acts on h before the product, and z is the weight of the candidate."""
    r = sigmoid(gate(params, 0, "ih", x) + gate(params, 0, "hh", h))
    z = sigmoid(gate(params, 1, "ih", x) + gate(params, 1, "hh", h))
    candidate = np.tanh(gate(params, 2, "ih", x) + gate(params, 2, "hh", r * h))
    return ((1 - z) * h + z * candidate,)


def lstm(params, x, h, c):
    """Input, forget, cell and output gate, and the projection of h if there is one."""
    a = [gate(params, k, "ih", x) + gate(params, k, "hh", h) for k in range(4)]
    i, f, g, o = sigmoid(a[0]), sigmoid(a[1]), np.tanh(a[2]), sigmoid(a[3])
    c = f * c + i * g
    h = o * np.tanh(c)
    return (affine(params["weight_hr"], h) if "weight_hr" in params else h), c


def lstm_peephole(params, x, h, c):
    """Input and forget gate also read the old cell state, the output gate the new one."""
    a = [gate(params, k, "ih", x) + gate(params, k, "hh", h) for k in range(4)]
    p_i, p_f, p_o = params["weight_ch"].reshape(3, -1)
    i, f, g = sigmoid(a[0] + p_i * c), sigmoid(a[1] + p_f * c), np.tanh(a[2])
    c = f * c + i * g
    return sigmoid(a[3] + p_o * c) * np.tanh(c), c


STEP = {
    "RNN_TANH": rnn_tanh,
    "RNN_RELU": rnn_relu,
    "GRU": gru,
    "LSTM": lstm,
    "GRU_TEXTBOOK": gru_as_published,
    "LSTM_PEEPHOLE": lstm_peephole,
}


def layer(mode, params, x, *state):
    """Output [T, ·] and last state of x [T, I], step by step from the initial state."""
    output = []
    for x_t in x:
        state = STEP[mode](params, x_t, *state)
        output.append(state[0])
    return np.array(output), state
