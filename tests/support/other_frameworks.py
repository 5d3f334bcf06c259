"""Recurrent layers of other frameworks, written out gate by gate as their documentation has them.

Each function computes one layer in one direction from the framework's own arrays, x [T, B, I] and
zeros as the state, and returns h of every step [T, B, H]. Nothing here reads the table of
`bptt_oracle.porting`: every slice is written by hand.
"""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def tanh_or_relu(cell):
    return np.tanh if cell == "RNN_TANH" else lambda a: np.maximum(a, 0)


def keras_simple_rnn(weights, x, cell):
    """keras.layers.SimpleRNN: activation(dot(x, kernel) + bias + dot(h, recurrent_kernel))."""
    kernel, recurrent, *bias = weights
    h, out = np.zeros((x.shape[1], len(recurrent))), []
    for x_t in x:
        a = x_t @ kernel + h @ recurrent
        h = tanh_or_relu(cell)(a + bias[0] if bias else a)
        out.append(h)
    return np.array(out)


def keras_lstm(weights, x, cell):
    """keras.layers.LSTM: kernel and bias are k_i, k_f, k_c, k_o side by side."""
    kernel, recurrent, *bias = weights
    H = len(recurrent)
    b = bias[0] if bias else np.zeros(4 * H)
    h = c = np.zeros((x.shape[1], H))
    out = []
    for x_t in x:
        i = sigmoid(x_t @ kernel[:, :H] + h @ recurrent[:, :H] + b[:H])
        f = sigmoid(
            x_t @ kernel[:, H : 2 * H] + h @ recurrent[:, H : 2 * H] + b[H : 2 * H],
        )
        candidate = np.tanh(
            x_t @ kernel[:, 2 * H : 3 * H] + h @ recurrent[:, 2 * H : 3 * H] + b[2 * H : 3 * H],
        )
        o = sigmoid(x_t @ kernel[:, 3 * H :] + h @ recurrent[:, 3 * H :] + b[3 * H :])
        c = f * c + i * candidate
        h = o * np.tanh(c)
        out.append(h)
    return np.array(out)


def keras_gru(weights, x, cell):
    """keras.layers.GRU: z, r, h side by side; h = z * h_tm1 + (1 - z) * hh."""
    kernel, recurrent, *bias = weights
    H = len(recurrent)
    h, out = np.zeros((x.shape[1], H)), []
    reset_after = cell == "GRU"
    input_bias, recurrent_bias = np.zeros(3 * H), np.zeros(3 * H)
    if bias and reset_after:
        input_bias, recurrent_bias = bias[0][0], bias[0][1]
    elif bias:
        input_bias = bias[0]
    for x_t in x:
        x_z = x_t @ kernel[:, :H] + input_bias[:H]
        x_r = x_t @ kernel[:, H : 2 * H] + input_bias[H : 2 * H]
        x_h = x_t @ kernel[:, 2 * H :] + input_bias[2 * H :]
        z = sigmoid(x_z + h @ recurrent[:, :H] + recurrent_bias[:H])
        r = sigmoid(x_r + h @ recurrent[:, H : 2 * H] + recurrent_bias[H : 2 * H])
        if reset_after:
            recurrent_h = r * (h @ recurrent[:, 2 * H :] + recurrent_bias[2 * H :])
        else:
            recurrent_h = (r * h) @ recurrent[:, 2 * H :]
        h = z * h + (1 - z) * np.tanh(x_h + recurrent_h)
        out.append(h)
    return np.array(out)


def onnx_rnn(node, x, cell):
    """The operator RNN: Ht = f(Xt*(Wi^T) + Ht-1*(Ri^T) + Wbi + Rbi)."""
    W, R = node["W"], node["R"]
    H = R.shape[1]
    B = node.get("B", np.zeros(2 * H))
    h, out = np.zeros((x.shape[1], H)), []
    for x_t in x:
        h = tanh_or_relu(cell)(x_t @ W.T + h @ R.T + B[:H] + B[H:])
        out.append(h)
    return np.array(out)


def onnx_lstm(node, x, cell):
    """The operator LSTM: W[iofc], R[iofc], B = [Wb[iofc], Rb[iofc]], P[iof]."""
    H = node["R"].shape[1]
    B, P = node.get("B", np.zeros(8 * H)), node.get("P", np.zeros(3 * H))
    Wi, Wo, Wf, Wc = np.split(node["W"], 4)
    Ri, Ro, Rf, Rc = np.split(node["R"], 4)
    Wbi, Wbo, Wbf, Wbc, Rbi, Rbo, Rbf, Rbc = np.split(B, 8)
    Pi, Po, Pf = np.split(P, 3)
    h = c = np.zeros((x.shape[1], H))
    out = []
    for x_t in x:
        i = sigmoid(x_t @ Wi.T + h @ Ri.T + Pi * c + Wbi + Rbi)
        f = sigmoid(x_t @ Wf.T + h @ Rf.T + Pf * c + Wbf + Rbf)
        c_t = np.tanh(x_t @ Wc.T + h @ Rc.T + Wbc + Rbc)
        c = f * c + i * c_t
        o = sigmoid(x_t @ Wo.T + h @ Ro.T + Po * c + Wbo + Rbo)
        h = o * np.tanh(c)
        out.append(h)
    return np.array(out)


def onnx_gru(node, x, cell):
    """The operator GRU: W[zrh]; linear_before_reset = 1 for GRU, 0 for GRU_TEXTBOOK."""
    H = node["R"].shape[1]
    Wz, Wr, Wh = np.split(node["W"], 3)
    Rz, Rr, Rh = np.split(node["R"], 3)
    Wbz, Wbr, Wbh, Rbz, Rbr, Rbh = np.split(node.get("B", np.zeros(6 * H)), 6)
    H_t, out = np.zeros((x.shape[1], H)), []
    for x_t in x:
        z = sigmoid(x_t @ Wz.T + H_t @ Rz.T + Rbz + Wbz)
        r = sigmoid(x_t @ Wr.T + H_t @ Rr.T + Rbr + Wbr)
        if cell == "GRU":
            h = np.tanh(x_t @ Wh.T + r * (H_t @ Rh.T + Rbh) + Wbh)
        else:
            h = np.tanh(x_t @ Wh.T + (r * H_t) @ Rh.T + Rbh + Wbh)
        H_t = (1 - z) * h + z * H_t
        out.append(H_t)
    return np.array(out)


def flax_rnn(tree, x, cell):
    """flax.nnx.SimpleCell: activation(dense_i(x) + dense_h(h))."""
    kernel, recurrent = tree["dense_i"]["kernel"], tree["dense_h"]["kernel"]
    bias = tree["dense_i"]["bias"]
    h, out = np.zeros((x.shape[1], len(recurrent))), []
    for x_t in x:
        h = tanh_or_relu(cell)(x_t @ kernel + bias + h @ recurrent)
        out.append(h)
    return np.array(out)


def flax_lstm(tree, x, cell):
    """flax.nnx.OptimizedLSTMCell: i, f, g, o side by side; the bias is that of dense_h."""
    kernel, recurrent = tree["dense_i"]["kernel"], tree["dense_h"]["kernel"]
    bias = tree["dense_h"]["bias"]
    h = c = np.zeros((x.shape[1], len(recurrent)))
    out = []
    for x_t in x:
        y = x_t @ kernel + (h @ recurrent + bias)
        i, f, g, o = np.split(y, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.array(out)


def flax_gru(tree, x, cell):
    """flax.nnx.GRUCell: r, z, n side by side; dense_h has no bias."""
    kernel, recurrent = tree["dense_i"]["kernel"], tree["dense_h"]["kernel"]
    bias = tree["dense_i"]["bias"]
    h, out = np.zeros((x.shape[1], len(recurrent))), []
    for x_t in x:
        i_r, i_z, i_n = np.split(x_t @ kernel + bias, 3, axis=-1)
        h_r, h_z, h_n = np.split(h @ recurrent, 3, axis=-1)
        r, z = sigmoid(i_r + h_r), sigmoid(i_z + h_z)
        h = (1 - z) * np.tanh(i_n + r * h_n) + z * h
        out.append(h)
    return np.array(out)


def equinox_lstm(arrays, x, cell):
    """equinox.nn.LSTMCell: i, f, g, o = split(weight_ih @ x + weight_hh @ h + bias)."""
    H = arrays["weight_hh"].shape[1]
    out, bias = [], arrays.get("bias", np.zeros(4 * H))
    states = np.zeros((2, x.shape[1], H))
    for x_t in x:
        h, c = states
        lin = x_t @ arrays["weight_ih"].T + h @ arrays["weight_hh"].T + bias
        i, f, g, o = lin[:, :H], lin[:, H : 2 * H], lin[:, 2 * H : 3 * H], lin[:, 3 * H :]
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        states = np.stack([sigmoid(o) * np.tanh(c), c])
        out.append(states[0])
    return np.array(out)


def equinox_gru(arrays, x, cell):
    """equinox.nn.GRUCell: bias on the inputs, bias_n inside the product with reset."""
    H = arrays["weight_hh"].shape[1]
    bias, bias_n = arrays.get("bias", np.zeros(3 * H)), arrays.get("bias_n", np.zeros(H))
    h, out = np.zeros((x.shape[1], H)), []
    for x_t in x:
        igates = np.split(x_t @ arrays["weight_ih"].T + bias, 3, axis=1)
        hgates = np.split(h @ arrays["weight_hh"].T, 3, axis=1)
        reset, inp = sigmoid(igates[0] + hgates[0]), sigmoid(igates[1] + hgates[1])
        new = np.tanh(igates[2] + reset * (hgates[2] + bias_n))
        h = new + inp * (h - new)
        out.append(h)
    return np.array(out)


def paddle_rnn(arrays, x, cell):
    """paddle.nn.SimpleRNNCell."""
    h, out = np.zeros((x.shape[1], arrays["weight_hh"].shape[1])), []
    for x_t in x:
        i2h = x_t @ arrays["weight_ih"].T + arrays["bias_ih"]
        h = tanh_or_relu(cell)(i2h + h @ arrays["weight_hh"].T + arrays["bias_hh"])
        out.append(h)
    return np.array(out)


def paddle_lstm(arrays, x, cell):
    """paddle.nn.LSTMCell: chunks i, f, candidate, o; the state is projected by weight_ho [H, P]."""
    weight_ih, weight_hh = arrays["weight_ih"], arrays["weight_hh"]
    h = np.zeros((x.shape[1], weight_hh.shape[1]))
    c, out = np.zeros((x.shape[1], len(weight_hh) // 4)), []
    for x_t in x:
        gates = x_t @ weight_ih.T + arrays["bias_ih"] + h @ weight_hh.T + arrays["bias_hh"]
        chunks = np.split(gates, 4, axis=-1)
        i, f, o = sigmoid(chunks[0]), sigmoid(chunks[1]), sigmoid(chunks[3])
        c = f * c + i * np.tanh(chunks[2])
        h = o * np.tanh(c)
        h = h @ arrays["weight_ho"] if "weight_ho" in arrays else h
        out.append(h)
    return np.array(out)


def paddle_gru(arrays, x, cell):
    """paddle.nn.GRUCell: r, z, c; h = (pre_hidden - c) * z + c."""
    h, out = np.zeros((x.shape[1], arrays["weight_hh"].shape[1])), []
    for x_t in x:
        x_r, x_z, x_c = np.split(x_t @ arrays["weight_ih"].T + arrays["bias_ih"], 3, axis=1)
        h_r, h_z, h_c = np.split(h @ arrays["weight_hh"].T + arrays["bias_hh"], 3, axis=1)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        c = np.tanh(x_c + r * h_c)
        h = (h - c) * z + c
        out.append(h)
    return np.array(out)


DOCUMENTED = {
    ("keras", "RNN_TANH"): keras_simple_rnn,
    ("keras", "RNN_RELU"): keras_simple_rnn,
    ("keras", "GRU"): keras_gru,
    ("keras", "GRU_TEXTBOOK"): keras_gru,
    ("keras", "LSTM"): keras_lstm,
    ("onnx", "RNN_TANH"): onnx_rnn,
    ("onnx", "RNN_RELU"): onnx_rnn,
    ("onnx", "GRU"): onnx_gru,
    ("onnx", "GRU_TEXTBOOK"): onnx_gru,
    ("onnx", "LSTM"): onnx_lstm,
    ("onnx", "LSTM_PEEPHOLE"): onnx_lstm,
    ("flax.nnx", "RNN_TANH"): flax_rnn,
    ("flax.nnx", "RNN_RELU"): flax_rnn,
    ("flax.nnx", "GRU"): flax_gru,
    ("flax.nnx", "LSTM"): flax_lstm,
    ("equinox", "GRU"): equinox_gru,
    ("equinox", "LSTM"): equinox_lstm,
    ("paddle", "RNN_TANH"): paddle_rnn,
    ("paddle", "RNN_RELU"): paddle_rnn,
    ("paddle", "GRU"): paddle_gru,
    ("paddle", "LSTM"): paddle_lstm,
}


def cells_of(weights, framework, layer):
    """The arrays of each direction of a layer, as the functions above take them; written by hand
    for what each framework documents about its containers."""
    if framework == "keras":
        arrays = weights[layer]
        return (
            [arrays]
            if len(arrays) < 4
            else [arrays[: len(arrays) // 2], arrays[len(arrays) // 2 :]]
        )
    if framework == "onnx":
        node = weights[layer]
        return [{name: value[d] for name, value in node.items()} for d in range(len(node["W"]))]
    if framework == "paddle":
        prefixes = [f"{layer}.cell.", f"{layer}.cell_fw.", f"{layer}.cell_bw."]
        found = [
            {name.removeprefix(p): v for name, v in weights.items() if name.startswith(p)}
            for p in prefixes
        ]
        return [cell for cell in found if cell]
    return list(weights[layer]) if isinstance(weights[layer], tuple) else [weights[layer]]


def documented_output(weights, framework, cell, x, layers=1):
    """[T, B, D·H]: the layers one above the other, the reverse direction from the last step."""
    for layer in range(layers):
        halves = []
        for d, arrays in enumerate(cells_of(weights, framework, layer)):
            step = -1 if d else 1
            halves.append(DOCUMENTED[framework, cell](arrays, x[::step], cell)[::step])
        x = np.concatenate(halves, axis=-1)
    return x
