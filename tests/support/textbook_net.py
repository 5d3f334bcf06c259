"""A recurrent net as a student writes it in NumPy: row by row, step by step, backward by hand.

Mistakes are planted in the text of this file (`planted_mistakes`), so its lines are short and each
formula stands in one place.
"""

import numpy as np

from bptt_oracle.cases.masks import draw_masks
from support.textbook_variants import BACKWARD, FORWARD


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def rnn(p, xs, state, tanh):
    (h,) = state
    steps = []
    for x in xs:
        a = p["weight_ih"] @ x + p["bias_ih"] + p["weight_hh"] @ h + p["bias_hh"]
        new = np.tanh(a) if tanh else np.maximum(a, 0)
        steps.append((x, h, a, new))
        h = new
    return [s[-1] for s in steps], [h], steps


def rnn_back(p, steps, d_ys, d_state, tanh):
    (d_h,) = d_state
    d = {name: np.zeros_like(value) for name, value in p.items()}
    d_xs = []
    for t in reversed(range(len(steps))):
        x, h, a, new = steps[t]
        d_h = d_h + d_ys[t]
        d_a = d_h * (1 - new**2) if tanh else d_h * (new > 0)
        d["weight_ih"] += np.outer(d_a, x)
        d["weight_hh"] += np.outer(d_a, h)
        d["bias_ih"] += d_a
        d["bias_hh"] += d_a
        d_xs.insert(0, p["weight_ih"].T @ d_a)
        d_h = p["weight_hh"].T @ d_a
    return d, d_xs, [d_h]


def gru(p, xs, state):
    (h,) = state
    H = len(h)
    steps = []
    for x in xs:
        u = p["weight_ih"] @ x + p["bias_ih"]
        v = p["weight_hh"] @ h + p["bias_hh"]
        r = sigmoid(u[:H] + v[:H])
        z = sigmoid(u[H : 2 * H] + v[H : 2 * H])
        n = np.tanh(u[2 * H :] + r * v[2 * H :])
        new = (1 - z) * n + z * h
        steps.append((x, h, v, r, z, n, new))
        h = new
    return [s[-1] for s in steps], [h], steps


def gru_back(p, steps, d_ys, d_state):
    (d_h,) = d_state
    H = len(d_h)
    d = {name: np.zeros_like(value) for name, value in p.items()}
    d_xs = []
    for t in reversed(range(len(steps))):
        x, h, v, r, z, n, new = steps[t]
        d_h = d_h + d_ys[t]
        d_n = d_h * (1 - z)
        d_z = d_h * (h - n)
        d_u_n = d_n * (1 - n**2)
        d_r = d_u_n * v[2 * H :]
        d_a_r = d_r * r * (1 - r)
        d_a_z = d_z * z * (1 - z)
        d_u = np.concatenate([d_a_r, d_a_z, d_u_n])
        d_v = np.concatenate([d_a_r, d_a_z, d_u_n * r])
        d["weight_ih"] += np.outer(d_u, x)
        d["weight_hh"] += np.outer(d_v, h)
        d["bias_ih"] += d_u
        d["bias_hh"] += d_v
        d_xs.insert(0, p["weight_ih"].T @ d_u)
        d_h = d_h * z + p["weight_hh"].T @ d_v
    return d, d_xs, [d_h]


def lstm(p, xs, state):
    h, c = state
    H = len(c)
    steps = []
    for x in xs:
        a = p["weight_ih"] @ x + p["bias_ih"] + p["weight_hh"] @ h + p["bias_hh"]
        i = sigmoid(a[:H])
        f = sigmoid(a[H : 2 * H])
        g = np.tanh(a[2 * H : 3 * H])
        o = sigmoid(a[3 * H :])
        c_new = f * c + i * g
        m = o * np.tanh(c_new)
        new = p["weight_hr"] @ m if "weight_hr" in p else m
        steps.append((x, h, c, i, f, g, o, c_new, m, new))
        h, c = new, c_new
    return [s[-1] for s in steps], [h, c], steps


def lstm_back(p, steps, d_ys, d_state):
    d_h, d_c = d_state
    d = {name: np.zeros_like(value) for name, value in p.items()}
    d_xs = []
    for t in reversed(range(len(steps))):
        x, h, c, i, f, g, o, c_new, m, new = steps[t]
        d_h = d_h + d_ys[t]
        d_m = d_h
        if "weight_hr" in p:
            d["weight_hr"] += np.outer(d_h, m)
            d_m = p["weight_hr"].T @ d_h
        d_o = d_m * np.tanh(c_new)
        d_c = d_c + d_m * o * (1 - np.tanh(c_new) ** 2)
        d_i = d_c * g
        d_f = d_c * c
        d_g = d_c * i
        d_a_i = d_i * i * (1 - i)
        d_a_f = d_f * f * (1 - f)
        d_a_g = d_g * (1 - g**2)
        d_a_o = d_o * o * (1 - o)
        d_a = np.concatenate([d_a_i, d_a_f, d_a_g, d_a_o])
        d["weight_ih"] += np.outer(d_a, x)
        d["weight_hh"] += np.outer(d_a, h)
        d["bias_ih"] += d_a
        d["bias_hh"] += d_a
        d_xs.insert(0, p["weight_ih"].T @ d_a)
        d_h = p["weight_hh"].T @ d_a
        d_c = d_c * f
    return d, d_xs, [d_h, d_c]


def forward_of(mode, variants):
    if mode in variants:
        return variants[mode]
    if mode == "GRU":
        return gru
    if mode == "LSTM":
        return lstm
    return lambda p, xs, state: rnn(p, xs, state, mode == "RNN_TANH")


def backward_of(mode, variants):
    if mode in variants:
        return variants[mode]
    if mode == "GRU":
        return gru_back
    if mode == "LSTM":
        return lstm_back
    return lambda p, steps, d_ys, d_state: rnn_back(p, steps, d_ys, d_state, mode == "RNN_TANH")


def layer_parameters(params, suffix, bias, rows):
    own = {n.removesuffix(suffix): p for n, p in params.items() if n.endswith(suffix)}
    if not bias:
        own["bias_ih"] = own["bias_hh"] = np.zeros_like(own["weight_ih"][:, 0])
    return own


def net(problem, dtype, cells=FORWARD, cells_back=BACKWARD):
    """The results of a problem by name: output, h_n, c_n, and d_ before what has a gradient."""
    options, lengths = problem.net, problem.lengths
    D, F = options.directions, options.output_size
    params = {name: p.astype(dtype) for name, p in problem.params.items()}

    def time_first(value):
        if value.ndim == 2:
            return value[:, None].astype(dtype)
        return (value.swapaxes(0, 1) if options.batch_first else value).astype(dtype)

    def as_given(value):
        if problem.x.ndim == 2:
            return value[:, 0]
        return value.swapaxes(0, 1) if options.batch_first else value

    x = time_first(problem.x)
    T, B = x.shape[:2]
    lengths = lengths or (T,) * B
    masks = [time_first(mask) for mask in draw_masks(problem, dtype)]
    scale = np.asarray(options.dropout_scale, dtype)
    depth = options.num_layers * D
    zeros = [np.zeros((depth, B, width), dtype) for width in options.state_sizes]
    state = zeros
    if problem.state is not None:
        state = [
            s.reshape(z.shape).astype(dtype) for s, z in zip(problem.state, zeros, strict=False)
        ]
    final = [z.copy() for z in zeros]
    forward, backward = forward_of(options.mode, cells), backward_of(options.mode, cells_back)

    y, records = x, {}
    for layer in range(options.num_layers):
        out = np.zeros((T, B, D * F), dtype)
        for k, suffix in enumerate(options.suffixes(layer)):
            p = layer_parameters(params, suffix, options.bias, B)
            for b in range(B):
                length = lengths[b]
                xs = y[:length, b]
                if k == 1:
                    xs = xs[::-1]
                start = [s[layer * D + k, b] for s in state]
                ys, end, steps = forward(p, xs, start)
                records[layer, k, b] = p, steps
                if k == 1:
                    ys = ys[::-1]
                out[:length, b, k * F : (k + 1) * F] = ys
                for field, value in zip(final, end, strict=False):
                    field[layer * D + k, b] = value
        y = out
        if layer < len(masks):
            y = out * masks[layer] * scale
    results = {"output": as_given(y)}
    for name, field in zip(("h_n", "c_n"), final, strict=False):
        results[name] = field if problem.x.ndim == 3 else field[:, 0]

    d_y = np.zeros_like(y)
    if problem.d_output is not None:
        d_y = time_first(problem.d_output)
    d_final = [z.copy() for z in zeros]
    for k, given in enumerate(problem.d_state):
        if given is not None:
            d_final[k] = given.reshape(zeros[k].shape).astype(dtype)
    d_state = [z.copy() for z in zeros]
    d_params = {name: np.zeros_like(p) for name, p in params.items()}
    for layer in reversed(range(options.num_layers)):
        if layer < len(masks):
            d_y = d_y * masks[layer] * scale
        d_below = np.zeros_like(x if layer == 0 else d_y)
        for k, suffix in enumerate(options.suffixes(layer)):
            for b in range(B):
                length = lengths[b]
                p, steps = records[layer, k, b]
                d_ys = d_y[:length, b, k * F : (k + 1) * F]
                if k == 1:
                    d_ys = d_ys[::-1]
                d_end = [s[layer * D + k, b] for s in d_final]
                d, d_xs, d_start = backward(p, steps, d_ys, d_end)
                if k == 1:
                    d_xs = d_xs[::-1]
                d_below[:length, b] += d_xs
                for field, value in zip(d_state, d_start, strict=False):
                    field[layer * D + k, b] = value
                for name, value in d.items():
                    if name + suffix in d_params:
                        d_params[name + suffix] += value
        d_y = d_below
    results["d_x"] = as_given(d_y)
    if problem.state is not None:
        for name, field in zip(("d_h_0", "d_c_0"), d_state, strict=False):
            results[name] = field if problem.x.ndim == 3 else field[:, 0]
    return results | {f"d_{name}": d for name, d in d_params.items()}
