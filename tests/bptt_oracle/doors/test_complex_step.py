"""The two derivatives, and the gap of the adjoint identity."""

import numpy as np
import pytest

from bptt_oracle.doors.complex_step import (
    adjoint_gap,
    central_difference,
    complex_step,
)
from support.adjoints import relative_gap

RNG = np.random.default_rng(0)
X, U = RNG.standard_normal((2, 5))


def f(inputs):
    return {"y": np.sin(inputs["x"]) * inputs["w"], "s": inputs["w"] ** 2}


def test_both_derivatives_are_those_of_calculus():
    inputs, direction = {"x": X, "w": X + 2}, {"x": U, "w": U[::-1]}
    exact = np.cos(X) * U * (X + 2) + np.sin(X) * U[::-1]
    by_step = complex_step(f, inputs, direction)
    np.testing.assert_allclose(by_step["y"], exact, rtol=1e-15, atol=1e-15)
    np.testing.assert_allclose(by_step["s"], 2 * (X + 2) * U[::-1], rtol=1e-15)
    by_difference = central_difference(f, inputs, direction, 1e-5)
    np.testing.assert_allclose(by_difference["y"], exact, rtol=1e-8, atol=1e-9)
    assert np.abs(by_difference["y"] - exact).max() > 1e-13  # it is not exact to rounding


def test_longdouble_stays_longdouble():
    wide = X.astype(np.longdouble)
    assert (
        complex_step(lambda i: {"y": i["x"] ** 2}, {"x": wide}, {"x": wide})["y"].dtype
        == wide.dtype
    )


def test_the_gap_is_the_difference_of_the_two_products_and_its_scale_their_magnitudes():
    cotangents, moved = {"y": np.array([2.0, -1])}, {"y": np.array([3.0, 1])}
    pulled, direction = {"x": np.array([4.0])}, {"x": np.array([-0.5])}
    assert adjoint_gap(cotangents, moved, pulled, direction) == (7, 9)  # |6 − 1 + 2|, 6 + 1 + 2
    assert relative_gap(cotangents, moved, pulled, direction) == pytest.approx(7 / 9)


def test_the_relative_gap_of_zeros_is_zero():
    zero = {"y": np.zeros(2)}
    assert relative_gap(zero, zero, {"x": np.zeros(1)}, {"x": np.ones(1)}) == 0
