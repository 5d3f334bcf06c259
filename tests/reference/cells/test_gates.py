"""The gates computed one by one agree with the cells."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.activations import sigmoid
from reference.cells.table import read_gates
from support.single import NETS, close, single
from support.strategies import seeds


@pytest.mark.claim("D5", "D9", "A1")
@given(name=st.sampled_from(sorted(NETS)), seed=seeds)
def test_the_state_made_of_the_gates_is_the_state_of_the_cell(name, seed):
    p = single(name, T=1, seed=seed)
    fields = p.state if p.net.mode == "LSTM" else (p.state,)
    before = [field[0] for field in fields]
    opened = read_gates(p.net, p.weights, p.x[0], before)
    output, after, _ = p.net.forward(p.params, p.x, p.state)
    if p.net.mode == "LSTM":
        m = opened.o * np.tanh(opened.c)
        close(m if p.weights.weight_hr is None else m @ p.weights.weight_hr.T, output[0])
        close(opened.c, after[1][0])
    elif p.net.mode == "GRU":
        close((1 - opened.z) * opened.n + opened.z * before[0], output[0])
    else:
        phi = np.tanh if p.net.nonlinearity == "tanh" else lambda a: np.maximum(a, 0)
        close(phi(opened.a), output[0])


@pytest.mark.claim("D5")
@given(seed=seeds)
def test_one_matrix_on_x_and_h_side_by_side_is_two_matrices_and_one_bias_the_sum_of_two(seed):
    p = single("LSTM", T=1, seed=seed)
    h, c = [field[0] for field in p.state]
    w = p.weights
    W, b = np.hstack([w.weight_ih, w.weight_hh]), w.bias_ih + w.bias_hh
    a_i, a_f, a_g, a_o = np.split(np.hstack([p.x[0], h]) @ W.T + b, 4, axis=1)
    c = sigmoid(a_f) * c + sigmoid(a_i) * np.tanh(a_g)
    output, _, _ = p.net.forward(p.params, p.x, p.state)
    close(sigmoid(a_o) * np.tanh(c), output[0])


@pytest.mark.claim("D5")
@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_a_gate_reads_only_its_own_rows(name):
    p = single(name)
    before = p.state if name == "LSTM" else (p.state,)
    before = [field[0] for field in before]
    opened = read_gates(p.net, p.weights, p.x[0], before)
    order = "ifgo" if name == "LSTM" else "rzn"
    for k, gate in enumerate(order):
        bias = p.weights.bias_ih.copy()
        bias[4 * k : 4 * k + 4] += 0.5
        moved = read_gates(p.net, p.weights._replace(bias_ih=bias), p.x[0], before)
        for other in order:
            same = np.array_equal(getattr(moved, other), getattr(opened, other))
            assert same == (other != gate and not (gate == "r" and other == "n"))
