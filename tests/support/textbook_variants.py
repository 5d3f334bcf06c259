"""The GRU of the papers and the LSTM with peepholes, as `textbook_net` has the other cells."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def gru_textbook(p, xs, state):
    (h,) = state
    H = len(h)
    W = p["weight_hh"]
    steps = []
    for x in xs:
        u = p["weight_ih"] @ x + p["bias_ih"] + p["bias_hh"]
        r = sigmoid(u[:H] + W[:H] @ h)
        z = sigmoid(u[H : 2 * H] + W[H : 2 * H] @ h)
        q = r * h
        n = np.tanh(u[2 * H :] + W[2 * H :] @ q)
        new = (1 - z) * h + z * n
        steps.append((x, h, r, z, q, n, new))
        h = new
    return [s[-1] for s in steps], [h], steps


def gru_textbook_back(p, steps, d_ys, d_state):
    (d_h,) = d_state
    H = len(d_h)
    W = p["weight_hh"]
    d = {name: np.zeros_like(value) for name, value in p.items()}
    d_xs = []
    for t in reversed(range(len(steps))):
        x, h, r, z, q, n, new = steps[t]
        d_h = d_h + d_ys[t]
        d_u_n = d_h * z * (1 - n**2)
        d_q = W[2 * H :].T @ d_u_n
        d_u_r = d_q * h * r * (1 - r)
        d_u_z = d_h * (n - h) * z * (1 - z)
        d_u = np.concatenate([d_u_r, d_u_z, d_u_n])
        d["weight_ih"] += np.outer(d_u, x)
        d["weight_hh"][: 2 * H] += np.outer(d_u[: 2 * H], h)
        d["weight_hh"][2 * H :] += np.outer(d_u_n, q)
        d["bias_ih"] += d_u
        d["bias_hh"] += d_u
        d_xs.insert(0, p["weight_ih"].T @ d_u)
        d_h = d_h * (1 - z) + d_q * r + W[: 2 * H].T @ d_u[: 2 * H]
    return d, d_xs, [d_h]


def lstm_peephole(p, xs, state):
    h, c = state
    H = len(c)
    p_i, p_f, p_o = np.split(p["weight_ch"], 3)
    steps = []
    for x in xs:
        a = p["weight_ih"] @ x + p["bias_ih"] + p["weight_hh"] @ h + p["bias_hh"]
        i = sigmoid(a[:H] + p_i * c)
        f = sigmoid(a[H : 2 * H] + p_f * c)
        g = np.tanh(a[2 * H : 3 * H])
        c_new = f * c + i * g
        o = sigmoid(a[3 * H :] + p_o * c_new)
        new = o * np.tanh(c_new)
        steps.append((x, h, c, i, f, g, o, c_new, new))
        h, c = new, c_new
    return [s[-1] for s in steps], [h, c], steps


def lstm_peephole_back(p, steps, d_ys, d_state):
    d_h, d_c = d_state
    p_i, p_f, p_o = np.split(p["weight_ch"], 3)
    d = {name: np.zeros_like(value) for name, value in p.items()}
    d_xs = []
    for t in reversed(range(len(steps))):
        x, h, c, i, f, g, o, c_new, new = steps[t]
        d_h = d_h + d_ys[t]
        d_a_o = d_h * np.tanh(c_new) * o * (1 - o)
        d_c = d_c + d_h * o * (1 - np.tanh(c_new) ** 2) + d_a_o * p_o
        d_a_i = d_c * g * i * (1 - i)
        d_a_f = d_c * c * f * (1 - f)
        d_a_g = d_c * i * (1 - g**2)
        d_a = np.concatenate([d_a_i, d_a_f, d_a_g, d_a_o])
        d["weight_ih"] += np.outer(d_a, x)
        d["weight_hh"] += np.outer(d_a, h)
        d["bias_ih"] += d_a
        d["bias_hh"] += d_a
        d["weight_ch"] += np.concatenate([d_a_i * c, d_a_f * c, d_a_o * c_new])
        d_xs.insert(0, p["weight_ih"].T @ d_a)
        d_h = p["weight_hh"].T @ d_a
        d_c = d_c * f + d_a_i * p_i + d_a_f * p_f
    return d, d_xs, [d_h, d_c]


FORWARD = {"GRU_TEXTBOOK": gru_textbook, "LSTM_PEEPHOLE": lstm_peephole}
BACKWARD = {"GRU_TEXTBOOK": gru_textbook_back, "LSTM_PEEPHOLE": lstm_peephole_back}
