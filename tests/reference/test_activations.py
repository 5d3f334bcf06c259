"""The nonlinearities against arbitrary precision, torch, and their own derivatives."""

import mpmath
import numpy as np
import pytest

from reference import activations

REAL = [np.float32, np.float64, np.longdouble]
ALL = [*REAL, np.complex128, np.clongdouble]


def over_the_range(dtype):
    """Numbers of both signs and every magnitude whose exponential stays finite."""
    largest = float(np.log(np.finfo(dtype).max)) - 2
    magnitudes = np.geomspace(1e-6, largest, 60)
    return np.concatenate([-magnitudes[::-1], magnitudes]).astype(dtype)


def exactly(f, a):
    """f of every element in 200 bits, rounded once."""
    with mpmath.workprec(200):
        ratios = [v.as_integer_ratio() for v in a]
        values = [f(mpmath.mpf(above) / below) for above, below in ratios]
        return np.array([a.dtype.type(str(v)) for v in values])


@pytest.mark.parametrize("dtype", REAL)
def test_sigmoid_is_accurate_relative_to_its_own_value_over_the_whole_range(dtype):
    a = over_the_range(dtype)
    truth = exactly(lambda v: 1 / (1 + mpmath.exp(-v)), a)
    error = np.abs(activations.sigmoid(a) - truth) / truth
    assert error.max() <= 4 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", REAL)
def test_tanh_is_accurate_relative_to_its_own_value_over_the_whole_range(dtype):
    a = over_the_range(dtype)
    truth = exactly(mpmath.tanh, a)
    error = np.abs(activations.tanh(a) - truth) / np.abs(truth)
    assert error.max() <= 4 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", REAL)
def test_sigmoid_of_large_arguments_is_silent_monotone_and_within_its_limits(dtype):
    a = np.array([-np.inf, -1e5, -1e3, -50, 0, 50, 1e3, 1e5, np.inf], dtype)
    with np.errstate(all="raise", under="ignore"):
        s = activations.sigmoid(a)
    assert np.all(np.diff(s) >= 0)
    tiny = np.finfo(dtype).tiny
    assert np.all((tiny / 2 < s[:2]) & (s[:2] < tiny))
    assert s[4] == 0.5 and s[-1] == 1


def test_sigmoid_of_minus_forty_is_not_rounded_to_zero():
    assert activations.sigmoid(np.array([-40.0]))[0] == pytest.approx(np.exp(-40), rel=1e-15, abs=0)


@pytest.mark.parametrize("f", [activations.sigmoid, activations.tanh, activations.relu])
@pytest.mark.parametrize("dtype", ALL)
def test_the_dtype_is_preserved_and_the_argument_unchanged_unless_it_is_out(f, dtype):
    a = np.random.default_rng(0).standard_normal((3, 4)).astype(dtype)
    before = a.copy()
    value = f(a)
    assert value.dtype == dtype and np.array_equal(a, before)
    assert f(a, out=a) is a and np.array_equal(a, value)


@pytest.mark.parametrize("f", [activations.sigmoid, activations.tanh, activations.relu])
@pytest.mark.parametrize("dtype", ALL)
def test_in_place_over_any_stride_the_value_is_that_of_a_copy(f, dtype):
    for stride in range(1, 20):  # np.negative of NumPy 2.4.6 fails at 16 and at 64 bytes
        a = np.random.default_rng(stride).standard_normal(stride * 12).astype(dtype)[::stride]
        expected = f(a.copy())
        assert np.array_equal(f(a, out=a), expected)


@pytest.mark.parametrize("f", [activations.sigmoid, activations.tanh, activations.relu])
def test_a_scalar_has_the_value_of_an_array(f):
    assert f(np.float64(0.3)) == f(np.array(0.3)) == f(np.array([0.3]))[0]


@pytest.mark.parametrize("f", [activations.sigmoid, activations.tanh, activations.relu])
def test_nan_stays_nan(f):
    assert np.isnan(f(np.array([np.nan, 1.0]))[0])


def test_relu_is_the_larger_of_its_argument_and_zero_infinities_included():
    a = np.array([-np.inf, -2.5, -0.0, 0.0, 1e-300, 2.5, np.inf])
    assert np.array_equal(activations.relu(a), np.maximum(a, 0))


@pytest.mark.parametrize(
    ("f", "slope"),
    [
        (activations.sigmoid, activations.sigmoid_slope),
        (activations.tanh, activations.tanh_slope),
        (activations.relu, activations.relu_slope),
    ],
)
def test_the_derivative_written_through_the_value_is_the_complex_step(f, slope):
    a = 5 * np.random.default_rng(1).standard_normal(200)
    by_step = f(a + 1e-30j).imag / 1e-30
    np.testing.assert_allclose(slope(f(a)), by_step, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize(
    "slope", [activations.sigmoid_slope, activations.tanh_slope, activations.relu_slope]
)
@pytest.mark.parametrize("dtype", ALL)
def test_a_slope_keeps_the_dtype_leaves_the_value_unchanged_and_goes_to_out(slope, dtype):
    value = np.random.default_rng(3).uniform(size=(3, 4)).astype(dtype)
    before, out = value.copy(), np.empty_like(value)
    fresh = slope(value)
    assert fresh.dtype == dtype and slope(value, out=out) is out
    assert np.array_equal(fresh, out) and np.array_equal(value, before)


@pytest.mark.parametrize("dtype", ALL)
def test_softmax_sums_to_one_and_ignores_a_shift(dtype):
    o = np.random.default_rng(2).standard_normal((3, 5)).astype(dtype)
    eps = np.finfo(dtype).eps
    p = activations.softmax(o)
    assert p.dtype == dtype
    assert np.all(np.abs(p.sum(axis=-1) - 1) <= 4 * eps)
    assert np.all(np.abs(activations.softmax(o + 8) - p) <= 32 * eps)


def test_a_logit_of_minus_infinity_has_probability_zero_and_others_share_one():
    o = np.array([[1.5, -np.inf, 0.5], [-np.inf, -np.inf, 2.0]])
    p = activations.softmax(o)
    assert p[0, 1] == 0 and p[0].sum() == pytest.approx(1, rel=1e-15)
    assert np.array_equal(p[1], [0, 0, 1])


@pytest.mark.claim("B2")
def test_log_softmax_is_finite_for_logits_ten_thousand_apart():
    log_p = activations.log_softmax(np.array([[1e4, 0.0, -1e4], [3.0, 1e4, 2.0]]))
    assert np.array_equal(log_p, [[0, -1e4, -2e4], [3 - 1e4, 0, 2 - 1e4]])


def test_log_softmax_is_the_logarithm_of_softmax():
    o = np.random.default_rng(3).standard_normal((4, 7))
    np.testing.assert_allclose(
        activations.log_softmax(o), np.log(activations.softmax(o)), rtol=1e-13, atol=1e-15
    )


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_the_adjoint_of_softmax_and_log_softmax_is_their_complex_step(name):
    f, f_back = getattr(activations, name), getattr(activations, f"{name}_back")
    rng = np.random.default_rng(4)
    o, direction, d_value = rng.standard_normal((3, 4, 6))
    pushed = f(o + 1e-30j * direction).imag / 1e-30
    pulled = f_back(f(o), d_value)
    assert np.abs((d_value * pushed).sum() - (pulled * direction).sum()) <= 1e-13
    assert np.all(np.abs(pulled.sum(axis=-1)) <= 1e-14), "a shift changes nothing"


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "softmax", "log_softmax"])
def test_the_value_is_torch_s(name):
    import torch

    a = np.random.default_rng(5).uniform(-30, 30, (5, 9))
    options = {"dim": -1} if "softmax" in name else {}
    expected = getattr(torch, name)(torch.tensor(a), **options).numpy()
    np.testing.assert_allclose(getattr(activations, name)(a), expected, rtol=1e-13)
