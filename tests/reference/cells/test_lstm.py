"""The LSTM cell, with and without projection: one law for each equation, the adjoint, and torch.

Gates are held open or shut by biases of ±60: 1 + e^(−60) rounds to 1 even in extended precision,
so an open gate is exactly 1, and a shut gate adds nothing to a sum of order 1.
"""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import LSTM, LSTMCell
from support import textbook
from support.problems import cast, draw, pull_back, solve
from support.strategies import cells, problems, seeds, sizes
from support.verdicts import (
    adjoint_identity_holds,
    agrees_with_textbook,
    agrees_with_torch,
    agrees_with_torch_within_rounding,
    keeps_dtype,
)

DTYPES = [np.float32, np.float64, np.longdouble, np.complex128]
in_every_dtype = pytest.mark.parametrize("dtype", DTYPES)
I, F, G, O = np.split(np.arange(24), 4)  # noqa: E741 the rows of each gate, in torch's order


def cell(bias=True, seed=0, **options):
    """A cell of 4 inputs and 6 units on 3 rows."""
    return draw(LSTMCell(4, 6, bias), B=3, seed=seed, **options)


def projected(seed=0, bias=True):
    """One step of a layer of 6 units projected to 5."""
    return draw(LSTM(4, 6, bias=bias, proj_size=5), T=1, B=3, seed=seed)


def pinned(problem, gates):
    """The problem with the gates at the given rows held open (60) or shut (−60)."""
    name = "bias_ih" if "bias_ih" in problem.inputs else "bias_ih_l0"
    bias = problem.inputs[name].copy()
    for rows, value in gates:
        bias[rows] = value
    return problem.with_inputs(**{name: bias})


def net_input(problem, rows):
    """x W_ihᵀ + b_ih + h W_hhᵀ + b_hh of one gate."""
    inputs = problem.inputs
    u = inputs["x"] @ inputs["weight_ih"][rows].T + inputs["bias_ih"][rows]
    return u + inputs["h_0"] @ inputs["weight_hh"][rows].T + inputs["bias_hh"][rows]


@pytest.mark.claim("D5")
@pytest.mark.parametrize("bias", [True, False])
@in_every_dtype
def test_the_cell_is_the_textbook_equation(bias, dtype):
    agrees_with_textbook(cast(cell(bias), dtype))


@in_every_dtype
def test_an_open_forget_gate_and_a_shut_input_gate_keep_the_cell_bit_for_bit(dtype):
    problem = pinned(cast(cell(), dtype), [(I, -60), (F, 60)])
    assert np.array_equal(solve(problem)[0]["c_n"], problem.inputs["c_0"])


@in_every_dtype
def test_a_shut_forget_gate_and_an_open_input_gate_write_only_the_candidate(dtype):
    problem = pinned(cast(cell(), dtype), [(I, 60), (F, -60)])
    error = solve(problem)[0]["c_n"] - np.tanh(net_input(problem, G))
    assert np.abs(error).max() <= 32 * np.finfo(dtype).eps


@in_every_dtype
def test_an_open_output_gate_shows_tanh_of_the_cell_and_a_shut_one_nothing(dtype):
    shown, _ = solve(pinned(cast(cell(), dtype), [(O, 60)]))
    assert np.abs(shown["h_n"] - np.tanh(shown["c_n"])).max() <= 4 * np.finfo(dtype).eps
    hidden, _ = solve(pinned(cast(cell(), dtype), [(O, -60)]))
    assert np.abs(hidden["h_n"]).max() < 1e-20


@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"])
def test_every_other_order_of_the_gates_gives_another_state(name):
    problem = cell()
    found, _ = solve(problem)
    for order in list(permutations([I, F, G, O]))[1:]:
        other = problem.with_inputs(**{name: problem.inputs[name][np.concatenate(order)]})
        assert np.all(np.abs(solve(other)[0]["h_n"] - found["h_n"]).max(axis=1) > 1e-3)


@pytest.mark.claim("D5")
@given(cells([LSTMCell]))
def test_weights_side_by_side_on_x_and_h_side_by_side_are_the_two_products(problem):
    inputs = problem.inputs
    x = np.atleast_2d(inputs["x"])
    state = {k: np.atleast_2d(v) for k, v in inputs.items() if k in ("h_0", "c_0")}
    c = state.get("c_0", np.zeros((len(x), problem.net.hidden_size)))
    both = np.hstack([x, state.get("h_0", np.zeros_like(c))])
    weight = np.hstack([inputs["weight_ih"], inputs["weight_hh"]])
    bias = inputs["bias_ih"] + inputs["bias_hh"] if problem.net.bias else 0
    i, f, g, o = np.split(both @ weight.T + bias, 4, axis=1)
    c = textbook.sigmoid(f) * c + textbook.sigmoid(i) * np.tanh(g)
    h = textbook.sigmoid(o) * np.tanh(c)
    found, _ = solve(problem)
    np.testing.assert_allclose(np.atleast_2d(found["h_n"]), h, rtol=0, atol=1e-14)
    np.testing.assert_allclose(np.atleast_2d(found["c_n"]), c, rtol=0, atol=1e-14)


@in_every_dtype
def test_the_projection_acts_on_the_gated_cell_and_not_on_the_cell_state(dtype):
    problem = cast(projected(), dtype)
    inputs = problem.inputs
    params = {k.removesuffix("_l0"): v for k, v in inputs.items() if k.endswith("_l0")}
    found, _ = solve(pinned(problem, [(O, 60)]))
    expected = np.tanh(found["c_n"]) @ params["weight_hr"].T
    assert np.abs(found["h_n"] - expected).max() <= 64 * np.finfo(dtype).eps
    for b in range(3):
        h, c = textbook.lstm(params, inputs["x"][0, b], inputs["h_0"][0, b], inputs["c_0"][0, b])
        plain, _ = solve(problem)
        assert np.abs(plain["h_n"][0, b] - h).max() <= 64 * np.finfo(dtype).eps
        assert np.abs(plain["c_n"][0, b] - c).max() <= 64 * np.finfo(dtype).eps


@given(cells([LSTMCell]))
def test_the_adjoint_identity_holds(problem):
    adjoint_identity_holds(problem)


@given(inputs=sizes, hidden=st.integers(2, 6), bias=st.booleans(), draw=st.data())
def test_the_adjoint_identity_holds_under_a_projection(inputs, hidden, bias, draw):
    proj = draw.draw(st.integers(1, hidden - 1))
    net = st.just(LSTM(inputs, hidden, bias=bias, proj_size=proj))
    adjoint_identity_holds(draw.draw(problems(net)))


@pytest.mark.parametrize("make", [cell, projected])
def test_the_adjoint_identity_holds_in_extended_precision(make):
    adjoint_identity_holds(cast(make(), np.longdouble), 64 * np.finfo(np.longdouble).eps)


@pytest.mark.parametrize("make", [cell, projected])
@in_every_dtype
def test_values_and_gradients_keep_the_dtype(make, dtype):
    keeps_dtype(make(), dtype)


@pytest.mark.claim("D5")
@given(cells([LSTMCell]))
def test_torch_s_cell_agrees(problem):
    agrees_with_torch(problem)


@given(seeds, st.booleans())
def test_torch_s_projection_agrees(seed, bias):
    agrees_with_torch(projected(seed, bias))


@pytest.mark.parametrize("make", [cell, projected])
@given(seed=seeds)
def test_torch_agrees_in_float32_to_rounding(make, seed):
    agrees_with_torch_within_rounding(make(seed=seed))


@given(seeds)
def test_the_squashing_functions_of_1997_are_ours_with_the_candidate_s_weights_halved(seed):
    """4σ(a) − 2 = 2 tanh(a/2) and 2σ(c) − 1 = tanh(c/2), so the c of 1997 is twice ours."""
    problem = cell(seed=seed)
    weights = {k: v for k, v in problem.inputs.items() if k not in ("x", "h_0", "c_0")}
    a_i, a_f, a_g, a_o = [net_input(problem, rows) for rows in (I, F, G, O)]
    i, f, o = [1 / (1 + np.exp(-a)) for a in (a_i, a_f, a_o)]
    c = f * (2 * problem.inputs["c_0"]) + i * (4 / (1 + np.exp(-a_g)) - 2)
    h = o * (2 / (1 + np.exp(-c)) - 1)
    halved = {name: value.copy() for name, value in weights.items()}
    for value in halved.values():
        value[G] /= 2
    ours, _ = solve(problem.with_inputs(**halved))
    np.testing.assert_allclose(ours["h_n"], h, rtol=0, atol=1e-14)
    np.testing.assert_allclose(2 * ours["c_n"], c, rtol=0, atol=1e-13)


def test_with_equal_weights_the_cell_of_1997_has_another_state():
    problem = cell()
    i, f, g, o = [net_input(problem, rows) for rows in (I, F, G, O)]
    i, f, o = [1 / (1 + np.exp(-a)) for a in (i, f, o)]
    c = f * problem.inputs["c_0"] + i * (4 / (1 + np.exp(-g)) - 2)
    h = o * (2 / (1 + np.exp(-c)) - 1)
    assert np.abs(solve(problem)[0]["h_n"] - h).max() > 0.05


def test_only_the_sum_of_the_two_biases_matters():
    """torch has two biases, the papers one; the gradients of both are that of the one."""
    problem = cell()
    one = problem.inputs["bias_ih"] + problem.inputs["bias_hh"]
    merged = problem.with_inputs(bias_ih=one, bias_hh=0 * one)
    state, tape = solve(problem)
    np.testing.assert_allclose(solve(merged)[0]["h_n"], state["h_n"], rtol=0, atol=1e-15)
    grads = pull_back(problem, tape, state)
    assert np.array_equal(grads["bias_ih"], grads["bias_hh"])
