"""With dyadic numbers and exact functions, torch and the reference agree bit for bit.

Sums and products of dyadic numbers of few bits are exact in any order, so the kernels have no
rounding to differ by: one bit off is a wrong equation. relu is exact by itself. σ and tanh are
exact at 0, where they are ½ and 0, and far out, where tanh is ±1: nets are built whose net inputs
stay there although no weight is zero, and whose gradients do not vanish.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import GRU, LSTM, RNN
from support.problems import Problem, cast, draw, pull_back, solve, solve_by_torch
from support.strategies import seeds


def dyadic(rng, shape, unit=0.25):
    """±1 or ±1/2 or ... in multiples of the unit, never 0."""
    return unit * rng.choice([-1.0, 1.0], shape) * rng.integers(1, 1 / unit, shape, endpoint=True)


def agree_bit_for_bit(problem, seed):
    outputs, tape = solve(problem)
    rng = np.random.default_rng(seed)
    dtype = problem.inputs["x"].dtype
    cotangents = {k: dyadic(rng, v.shape).astype(dtype) for k, v in outputs.items()}
    values, expected = solve_by_torch(problem, cotangents)
    grads = pull_back(problem, tape, cotangents)
    for found, theirs in ((outputs, values), (grads, expected)):
        for name, value in theirs.items():
            assert np.array_equal(found[name], value), name
    return grads


@pytest.mark.claim("X7")
@given(
    seed=seeds,
    layers=st.integers(1, 3),
    two=st.booleans(),
    lengths=st.none() | st.lists(st.integers(1, 5), min_size=1, max_size=4),
)
def test_a_relu_net_of_dyadic_numbers_agrees_bit_for_bit(seed, layers, two, lengths):
    net = RNN(3, 4, num_layers=layers, nonlinearity="relu", bidirectional=two)
    problem, rng = draw(net, lengths=lengths), np.random.default_rng(seed)
    inputs = {name: dyadic(rng, v.shape) for name, v in problem.inputs.items()}
    agree_bit_for_bit(problem.with_inputs(**inputs), seed)


@pytest.mark.claim("X7")
@given(seed=seeds)
def test_a_relu_net_of_dyadic_numbers_agrees_bit_for_bit_in_float32(seed):
    problem, rng = draw(RNN(2, 3, nonlinearity="relu"), T=3), np.random.default_rng(seed)
    inputs = {name: dyadic(rng, v.shape, 0.5) for name, v in problem.inputs.items()}
    agree_bit_for_bit(cast(problem.with_inputs(**inputs), np.float32), seed)


def in_pairs(rng, rows, columns):
    """A weight whose rows are dyadic, not zero, and orthogonal to (1, 1, …, 1)."""
    half = dyadic(rng, (rows, columns // 2), 0.5)
    return np.stack([half, -half], axis=2).reshape(rows, columns)


def at_rest(net, seed):
    """Inputs under which every gate's net input is exactly 0 at every step.

    x_t and h_0 are multiples of (1, …, 1), which every weight annuls, and the two biases cancel:
    b_ih + b_hh = 0, but b_ih + ½ b_hh = 0 for a GRU's candidate, whose b_hh is gated by r = ½.
    """
    rng = np.random.default_rng(seed)
    T, B, H, D = 3, 2, net.hidden_size, 1 + net.bidirectional
    layers = net.num_layers * D
    inputs = {"x": dyadic(rng, (T, B, 1), 0.5) * np.ones(net.input_size)}
    inputs["h_0"] = dyadic(rng, (layers, B, 1), 0.5) * np.ones(H)
    if net.mode == "LSTM":  # tanh(c) = 1 exactly, though f = ½ halves c at every step
        inputs["c_0"] = 4096 * (1 + dyadic(rng, (layers, B, H)) / 4)
    for name, shape in net.parameter_shapes().items():
        if name.startswith("weight"):
            inputs[name] = in_pairs(rng, *shape)
        elif name.startswith("bias_ih"):
            inputs[name] = dyadic(rng, shape, 0.5)
        else:
            inputs[name] = -inputs[name.replace("hh", "ih")]
            if net.mode == "GRU":
                inputs[name][2 * H :] *= 2
    if net.mode == "LSTM":  # half of the candidates far out, where tanh is exactly 1
        for name in inputs:
            if name.startswith("bias_ih"):
                inputs[name][2 * H : 2 * H + H // 2] = 1024.0
    return Problem(net, inputs)


AT_REST = [
    GRU(4, 4, num_layers=2, bidirectional=True),
    LSTM(4, 4, num_layers=2, bidirectional=True),
    RNN(4, 4),
]


@pytest.mark.claim("X7")
@pytest.mark.parametrize("net", AT_REST, ids=lambda net: net.mode)
@given(seed=seeds)
def test_a_net_at_rest_agrees_bit_for_bit(net, seed):
    agree_bit_for_bit(at_rest(net, seed), seed)


@pytest.mark.claim("X7")
@pytest.mark.parametrize("net", AT_REST, ids=lambda net: net.mode)
def test_every_gate_of_a_net_at_rest_has_a_gradient_to_compare(net):
    drawn = [agree_bit_for_bit(at_rest(net, seed), seed) for seed in range(5)]
    for name in drawn[0]:
        size = sum(np.abs(grads[name]) for grads in drawn)
        gates = [size] if name in ("x", "h_0", "c_0") else np.split(size, len(size) // 4)
        assert all(np.any(gate) for gate in gates), name


@pytest.mark.claim("X7")
def test_the_elementwise_functions_are_exact_at_the_values_of_these_nets():
    zero = torch.zeros(9, dtype=torch.float64)
    assert torch.equal(torch.sigmoid(zero), zero + 0.5)
    assert torch.equal(torch.tanh(zero + 200), zero + 1)
