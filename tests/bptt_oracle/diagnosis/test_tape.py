"""The tape: every gradient against a difference quotient, and rounding where it belongs."""

import numpy as np
import pytest

from bptt_oracle.diagnosis.tape import Tape
from reference.arithmetic import NUMPY

RNG = np.random.default_rng(5)
A, B, V = (RNG.standard_normal(shape) for shape in ((3, 4), (3, 4), (4,)))
MASK = np.array([[True], [False], [True]])

OPERATIONS = {
    "sum": lambda t, a, b, v: a + b,
    "sum with a row": lambda t, a, b, v: a + v,
    "product": lambda t, a, b, v: a * b,
    "product with a row": lambda t, a, b, v: v * a + a * v,
    "numbers": lambda t, a, b, v: 2 - a * 3 + 1 - -b,
    "matrix product": lambda t, a, b, v: a @ b.T,
    "part": lambda t, a, b, v: a[1:, ::2] * b[1:, 1::2],
    "rearrangement": lambda t, a, b, v: a[[2, 0, 1]] * b,
    "shape": lambda t, a, b, v: a.reshape(2, 6) * b.reshape(2, 6),
    "where": lambda t, a, b, v: t.where(MASK, a * a, b),
    "join": lambda t, a, b, v: t.join([a * b, b], 1) * t.join([b, a], 1),
    "stack": lambda t, a, b, v: t.stack([a, b * b])[1] * a,
    "σ": lambda t, a, b, v: t.sigmoid(a * b),
    "tanh": lambda t, a, b, v: t.tanh(a + b),
    "relu": lambda t, a, b, v: t.relu(a + b),
}


def value_of(operation, arrays, tape=None):
    tape = tape or Tape(NUMPY)
    leaves = [tape.constant(array) for array in arrays]
    return OPERATIONS[operation](tape, *leaves), leaves


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_gradient_is_the_limit_of_a_difference_quotient(operation):
    result, leaves = value_of(operation, (A, B, V))
    d = RNG.standard_normal(result.value.shape)
    result.tape.backward([(result, d)])
    for k, leaf in enumerate(leaves):
        direction, step = RNG.standard_normal(leaf.value.shape), 1e-6
        ends = []
        for sign in (1, -1):
            moved = [A, B, V]
            moved[k] = moved[k] + sign * step * direction
            ends.append(value_of(operation, moved)[0].value)
        quotient = (d * (ends[0] - ends[1])).sum() / (2 * step)
        gradient = 0.0 if leaf.grad is None else (leaf.grad * direction).sum()
        assert abs(quotient - gradient) < 1e-7 * max(1.0, abs(quotient))


def test_gradients_of_several_results_add_up():
    tape = Tape(NUMPY)
    a = tape.constant(A)
    tape.backward([(a * 2, B), (a * 3, B), (a, B)])
    np.testing.assert_allclose(a.grad, 6 * B, rtol=1e-15)


def test_a_changed_gradient_leaves_the_value():
    tape = Tape(NUMPY)
    a = tape.constant(A)
    y = tape.with_gradient(a, lambda g: 5 * g)
    tape.backward([(y, B)])
    assert np.array_equal(y.value, A) and np.array_equal(a.grad, 5 * B)


def test_operations_that_compute_are_rounded_and_those_that_move_are_not():
    rounded = []

    def count(value):
        rounded.append(value.shape)
        return value

    tape = Tape(NUMPY, count)
    a, b = tape.constant(A), tape.constant(B)
    tape.stack([a[:2], b.reshape(4, 3).T[:2]])
    assert rounded == []
    y = a * b
    assert rounded == [A.shape]
    tape.backward([(y, B)])
    assert len(rounded) == 3


def test_slopes_are_those_of_the_rounded_value():
    """1 − y² of a saturated gate is rounding error, and a moved run has to show that."""
    tape = Tape(NUMPY, lambda value: value * (1 - 1e-3))
    a = tape.constant(np.full(1, 20.0))
    y = tape.tanh(a)
    tape.backward([(y, np.ones(1))])
    assert a.grad[0] == pytest.approx(2e-3, rel=1e-2)
