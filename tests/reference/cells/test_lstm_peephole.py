"""The LSTM with peepholes: its textbook equations, its adjoint, and the LSTM without peepholes."""

import numpy as np
import pytest
from hypothesis import given

from reference import LSTM
from reference.nets.modules import RecurrentNet
from support import textbook
from support.calculus import adjoint_gap
from support.strategies import seeds, sizes


def draw(T, B, inputs, hidden, seed):
    """A net of one layer, and its parameters, x [T, B, I], h_0 and c_0 [1, B, H] by name."""
    rng = np.random.default_rng(seed)
    net = RecurrentNet("LSTM_PEEPHOLE", inputs, hidden)
    shapes = net.parameter_shapes() | {"x": (T, B, inputs)}
    shapes |= {"h_0": (1, B, hidden), "c_0": (1, B, hidden)}
    return net, {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def run_of(net):
    """Output and final state of the net, and the gradient of every input."""

    def run(inputs):
        params = {name: inputs[name] for name in net.parameter_shapes()}
        state = inputs["h_0"], inputs["c_0"]
        output, (h_n, c_n), tape = net.forward(params, inputs["x"], state)

        def pull(d):
            grads = net.backward(tape, d["output"], (d["h_n"], d["c_n"]))
            d_h_0, d_c_0 = grads.state
            return {"x": grads.x, "h_0": d_h_0, "c_0": d_c_0} | grads.params

        return {"output": output, "h_n": h_n, "c_n": c_n}, pull

    return run


def step(inputs, x, h, c):
    """Gers & Schmidhuber 2000 for one row, written out gate by gate."""
    W, U, b = inputs["weight_ih_l0"], inputs["weight_hh_l0"], inputs["bias_ih_l0"]
    a_i, a_f, a_g, a_o = np.split(W @ x + U @ h + b + inputs["bias_hh_l0"], 4)
    p_i, p_f, p_o = np.split(inputs["weight_ch_l0"], 3)
    i, f = textbook.sigmoid(a_i + p_i * c), textbook.sigmoid(a_f + p_f * c)
    c = f * c + i * np.tanh(a_g)
    return textbook.sigmoid(a_o + p_o * c) * np.tanh(c), c


@given(sizes, sizes, sizes, sizes, seeds)
def test_the_peephole_cell_is_the_textbook_equation(T, B, inputs, hidden, seed):
    net, values = draw(T, B, inputs, hidden, seed)
    outputs, _ = run_of(net)(values)
    for b in range(B):
        h, c = values["h_0"][0, b], values["c_0"][0, b]
        for t in range(T):
            h, c = step(values, values["x"][t, b], h, c)
            np.testing.assert_allclose(outputs["output"][t, b], h, rtol=0, atol=1e-13)
        np.testing.assert_allclose(outputs["c_n"][0, b], c, rtol=0, atol=1e-12)


@given(sizes, sizes, sizes, sizes, seeds)
def test_the_peephole_cell_is_the_adjoint_of_its_tangent(T, B, inputs, hidden, seed):
    net, values = draw(T, B, inputs, hidden, seed)
    assert adjoint_gap(run_of(net), values, seed) < 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_with_peepholes_of_zero_the_cell_is_the_lstm(dtype):
    net, values = draw(5, 3, 4, 6, seed=0)
    values = {name: v.astype(dtype) for name, v in values.items()}
    values["weight_ch_l0"][:] = 0
    found, pull = run_of(net)(values)
    expected, pull_lstm = run_of(LSTM(4, 6))(values)
    grads, grads_lstm = pull(found), pull_lstm(found)
    for name, v in expected.items():
        np.testing.assert_allclose(found[name], v, rtol=0, atol=8 * np.finfo(dtype).eps)
    for name, d in grads_lstm.items():
        atol = 64 * np.finfo(dtype).eps * np.abs(d).max()
        np.testing.assert_allclose(grads[name], d, rtol=0, atol=atol)
