"""The gated recurrent unit: one law for each equation, the adjoint, torch, and the two forms.

Gates are held open or shut by biases of ±60: 1 + e^(−60) rounds to 1 even in extended precision,
so an open gate is exactly 1, and a shut gate adds nothing to a sum of order 1.
"""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from reference import GRUCell
from support import textbook
from support.problems import cast, draw, solve
from support.strategies import cells, seeds, sizes
from support.verdicts import (
    adjoint_identity_holds,
    agrees_with_textbook,
    agrees_with_torch,
    agrees_with_torch_within_rounding,
    keeps_dtype,
)

DTYPES = [np.float32, np.float64, np.longdouble, np.complex128]
in_every_dtype = pytest.mark.parametrize("dtype", DTYPES)
R, Z, N = np.split(np.arange(18), 3)  # the rows of each gate, in torch's order


def cell(bias=True, seed=0, **options):
    """A cell of 4 inputs and 6 units on 3 rows."""
    return draw(GRUCell(4, 6, bias), B=3, seed=seed, **options)


def pinned(problem, gates):
    """The problem with the gates at the given rows held open (60) or shut (−60)."""
    bias = problem.inputs["bias_ih"].copy()
    for rows, value in gates:
        bias[rows] = value
    return problem.with_inputs(bias_ih=bias)


@pytest.mark.claim("D9")
@pytest.mark.parametrize("bias", [True, False])
@in_every_dtype
def test_the_cell_is_the_textbook_equation(bias, dtype):
    agrees_with_textbook(cast(cell(bias), dtype))


@in_every_dtype
def test_an_open_update_gate_keeps_the_state_bit_for_bit(dtype):
    problem = pinned(cast(cell(), dtype), [(Z, 60)])
    assert np.array_equal(solve(problem)[0]["h_n"], problem.inputs["h_0"])


@in_every_dtype
def test_a_shut_update_gate_takes_the_candidate_and_a_shut_reset_gate_hides_the_state(dtype):
    problem = pinned(cast(cell(), dtype), [(R, -60), (Z, -60)])
    inputs = problem.inputs
    u_n = inputs["x"] @ inputs["weight_ih"][N].T + inputs["bias_ih"][N]
    error = solve(problem)[0]["h_n"] - np.tanh(u_n)
    assert np.abs(error).max() <= 8 * np.finfo(dtype).eps


@in_every_dtype
def test_an_open_reset_gate_lets_the_product_and_its_bias_through(dtype):
    problem = pinned(cast(cell(), dtype), [(R, 60), (Z, -60)])
    inputs = problem.inputs
    u_n = inputs["x"] @ inputs["weight_ih"][N].T + inputs["bias_ih"][N]
    v_n = inputs["h_0"] @ inputs["weight_hh"][N].T + inputs["bias_hh"][N]
    error = solve(problem)[0]["h_n"] - np.tanh(u_n + v_n)
    assert np.abs(error).max() <= 32 * np.finfo(dtype).eps


def test_the_reset_gate_scales_the_hidden_bias_even_where_the_state_is_zero():
    problem = pinned(cell(), [(Z, -60)])
    inputs = problem.inputs | {"h_0": np.zeros((3, 6))}
    u = inputs["x"] @ inputs["weight_ih"].T + inputs["bias_ih"]
    r = textbook.sigmoid(u[:, R] + inputs["bias_hh"][R])
    expected = np.tanh(u[:, N] + r * inputs["bias_hh"][N])
    found, _ = solve(problem.with_inputs(h_0=inputs["h_0"]))
    np.testing.assert_allclose(found["h_n"], expected, rtol=1e-13)


@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"])
def test_every_other_order_of_the_gates_gives_another_state(name):
    problem = cell()
    found, _ = solve(problem)
    for order in list(permutations([R, Z, N]))[1:]:
        other = problem.with_inputs(**{name: problem.inputs[name][np.concatenate(order)]})
        assert np.all(np.abs(solve(other)[0]["h_n"] - found["h_n"]).max(axis=1) > 1e-3)


@given(cells([GRUCell]))
def test_the_adjoint_identity_holds(problem):
    adjoint_identity_holds(problem)


def test_the_adjoint_identity_holds_in_extended_precision():
    adjoint_identity_holds(cast(cell(), np.longdouble), 64 * np.finfo(np.longdouble).eps)


@in_every_dtype
def test_values_and_gradients_keep_the_dtype(dtype):
    keeps_dtype(cell(), dtype)


@given(cells([GRUCell]))
def test_torch_s_cell_agrees(problem):
    agrees_with_torch(problem)


@given(seeds)
def test_torch_s_cell_agrees_in_float32_to_rounding(seed):
    agrees_with_torch_within_rounding(cell(seed=seed))


def two_forms(problem, flip):
    """The state by the reference, and as published from weights whose update gate is flipped."""
    inputs = problem.inputs
    params = {k: v.copy() for k, v in inputs.items() if k not in ("x", "h_0")}
    H = problem.net.hidden_size
    for value in params.values():
        value[H : 2 * H] *= flip
    rows = zip(inputs["x"], inputs["h_0"], strict=True)
    published = [textbook.gru_as_published(params, x, h)[0] for x, h in rows]
    return solve(problem)[0]["h_n"], np.array(published)


@pytest.mark.claim("D9")
@given(st.sampled_from(["no reset", "diagonal"]), sizes, sizes, sizes, seeds)
def test_flipping_the_update_gate_is_exact_where_the_place_of_the_reset_gate_does_not_matter(
    why, inputs, hidden, rows, seed
):
    problem = draw(GRUCell(inputs, hidden), B=rows, seed=seed)
    bias_ih, bias_hh = problem.inputs["bias_ih"], problem.inputs["bias_hh"]
    if why == "no reset":
        bias_ih[:hidden] = 60
    else:
        bias_hh[2 * hidden :] = 0
        problem.inputs["weight_hh"][2 * hidden :] *= np.eye(hidden)
    ours, published = two_forms(problem, flip=-1)
    np.testing.assert_allclose(ours, published, rtol=0, atol=1e-14)


@pytest.mark.claim("D9")
@pytest.mark.parametrize(("hidden_bias", "smallest"), [(True, 1), (False, 2)])
def test_reset_before_and_after_the_product_are_not_equivalent(hidden_bias, smallest):
    def differ(drawn):
        hidden, seed = drawn
        problem = draw(GRUCell(1, hidden), B=1, seed=seed)
        problem.inputs["bias_hh"] *= hidden_bias
        ours, published = two_forms(problem, flip=-1)
        return np.abs(ours - published).max() > 1e-3

    always = settings(max_examples=200, derandomize=True, database=None)
    hidden, _ = find(st.tuples(sizes, seeds), differ, settings=always)
    assert hidden == smallest


@pytest.mark.claim("D9")
def test_without_the_flip_the_two_conventions_differ():
    problem = pinned(cell(), [(R, 60)])
    ours, published = two_forms(problem, flip=1)
    assert np.abs(ours - published).max() > 0.1
