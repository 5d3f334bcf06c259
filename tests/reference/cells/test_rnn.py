"""The simple recurrent cell: one law for each equation, the adjoint, and torch."""

import numpy as np
import pytest
from hypothesis import given

from reference import RNNCell
from support.problems import cast, draw, pull_back, solve, solve_by_torch
from support.strategies import cells, seeds
from support.verdicts import (
    adjoint_identity_holds,
    agrees_with_textbook,
    agrees_with_torch,
    agrees_with_torch_within_rounding,
    keeps_dtype,
)

DTYPES = [np.float32, np.float64, np.longdouble, np.complex128]
both = pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])


def cell(nonlinearity="tanh", bias=True, seed=0, **options):
    """A cell of 4 inputs and 6 units on 3 rows."""
    return draw(RNNCell(4, 6, bias, nonlinearity), B=3, seed=seed, **options)


@pytest.mark.claim("A1")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@both
def test_the_cell_is_the_textbook_equation(nonlinearity, bias, dtype):
    agrees_with_textbook(cast(cell(nonlinearity, bias), dtype))


def test_a_one_hot_input_reads_one_column_and_both_biases():
    problem = cell(state=False)
    inputs = problem.inputs
    outputs, _ = solve(problem.with_inputs(x=np.eye(4)))
    columns = inputs["weight_ih"].T + inputs["bias_ih"] + inputs["bias_hh"]
    np.testing.assert_allclose(outputs["h_n"], np.tanh(columns), rtol=1e-15)


def test_a_one_hot_state_reads_one_column():
    problem = cell(bias=False)
    outputs, _ = solve(problem.with_inputs(x=np.zeros((6, 4)), h_0=np.eye(6)))
    np.testing.assert_allclose(outputs["h_n"], np.tanh(problem.inputs["weight_hh"].T), rtol=1e-15)


def test_a_missing_state_is_zero():
    problem = cell()
    absent = problem.with_inputs()
    del absent.inputs["h_0"]
    zero = problem.with_inputs(h_0=np.zeros((3, 6)))
    assert np.array_equal(solve(absent)[0]["h_n"], solve(zero)[0]["h_n"])


def test_relu_has_derivative_zero_at_its_kink_as_torch_has():
    net = RNNCell(2, 3, bias=False, nonlinearity="relu")
    problem = draw(net, B=3, state=False)
    problem.inputs["weight_ih"][:] = [[1, -1]]
    problem = problem.with_inputs(x=np.array([[0.75, 0.75], [0.75, 0.5], [0.5, 0.75]]))
    outputs, tape = solve(problem)
    cotangents = {"h_n": np.random.default_rng(0).standard_normal((3, 3))}
    d_x = pull_back(problem, tape, cotangents)["x"]
    assert np.all(outputs["h_n"] == [[0.0], [0.25], [0.0]])
    assert np.all(d_x[0] == 0) and np.all(d_x[1] != 0) and np.all(d_x[2] == 0)
    assert np.array_equal(d_x, solve_by_torch(problem, cotangents)[1]["x"])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_relu_passes_gradients_back_through_nan_as_torch_does():
    problem = draw(RNNCell(1, 2, nonlinearity="relu"), B=1, state=False)
    problem = problem.with_inputs(x=np.array([[np.nan]]))
    cotangents = {"h_n": np.array([[0.5, -2.0]])}
    grads = pull_back(problem, solve(problem)[1], cotangents)
    assert grads["bias_ih"].tolist() == [0.5, -2.0]
    for name, expected in solve_by_torch(problem, cotangents)[1].items():
        np.testing.assert_array_equal(grads[name], expected)


def test_a_saturated_tanh_passes_nothing_back():
    problem = cell()
    problem = problem.with_inputs(bias_ih=np.array([60.0, -60, 60, -60, 60, -60]))
    outputs, tape = solve(problem)
    grads = pull_back(problem, tape, {"h_n": np.random.default_rng(0).standard_normal((3, 6))})
    assert np.all(np.abs(outputs["h_n"]) == 1)
    assert not any(d.any() for d in grads.values())


@given(cells(["tanh", "relu"]))
def test_the_adjoint_identity_holds(problem):
    adjoint_identity_holds(problem)


@both
def test_the_adjoint_identity_holds_in_extended_precision(nonlinearity):
    wide = cast(cell(nonlinearity), np.longdouble)
    adjoint_identity_holds(wide, tolerance=64 * np.finfo(np.longdouble).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@both
def test_values_and_gradients_keep_the_dtype(nonlinearity, dtype):
    keeps_dtype(cell(nonlinearity), dtype)


@pytest.mark.claim("A1")
@given(cells(["tanh", "relu"]))
def test_torch_s_cell_agrees(problem):
    agrees_with_torch(problem)


@both
@given(seed=seeds)
def test_torch_s_cell_agrees_in_float32_to_rounding(nonlinearity, seed):
    agrees_with_torch_within_rounding(cell(nonlinearity, seed=seed))
