"""Clipping, SGD, Adam and the schedule: torch's values at every step, and hand-computed ones."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference.models import optim
from support.calculus import agree, rejects
from support.optimizers import NAMES, SHAPES, gradients, leaves_of, trajectory
from support.strategies import seeds
from torch_impl.models import optim as torch_optim


@pytest.mark.claim("B10")
@given(seeds, st.sampled_from([0.0, 0.5, 0.9]), st.sampled_from([1e-3, 0.3]))
def test_sgd_with_momentum_takes_torchs_steps(seed, momentum, lr):
    trajectory(
        lambda p, g, s: optim.sgd(p, g, s, lr, momentum),
        lambda leaves: torch_optim.sgd(leaves, lr, momentum),
        seed,
    )


@pytest.mark.claim("B10")
@given(seeds, st.sampled_from([1e-3, 0.1]), st.sampled_from([(0.9, 0.999), (0.0, 0.5), (0.5, 0.0)]))
def test_adam_takes_torchs_steps(seed, lr, betas):
    trajectory(
        lambda p, g, s: optim.adam(p, g, s or optim.adam_start(p), lr, betas),
        lambda leaves: torch_optim.adam(leaves, lr, betas),
        seed,
    )


@pytest.mark.claim("B10")
def test_adams_first_step_is_the_learning_rate_against_the_sign_of_the_gradient():
    params, grads = {"w": np.array([1.0, 2.0, 3.0])}, {"w": np.array([1e-3, -50.0, 0.0])}
    moved, state = optim.adam(params, grads, optim.adam_start(params), lr=0.1)
    np.testing.assert_allclose(moved["w"], [0.9, 2.1, 3.0], rtol=1e-5)
    assert state.t == 1
    np.testing.assert_allclose(state.v["w"], 1e-3 * grads["w"] ** 2, rtol=1e-12)


@pytest.mark.claim("B10")
def test_momentum_sums_past_gradients_with_geometric_weights():
    grads = [{"w": np.array([g])} for g in (1.0, 10.0, 100.0)]
    params, v = {"w": np.array([0.0])}, None
    for g in grads:
        params, v = optim.sgd(params, g, v, lr=1.0, momentum=0.5)
    assert v["w"] == 100 + 0.5 * 10 + 0.25 * 1
    assert params["w"] == -(1 + (10 + 0.5) + (100 + 5 + 0.25))


def test_no_step_changes_what_it_was_given():
    rng = np.random.default_rng(0)
    params, grads = gradients(rng), gradients(rng)
    copies = [{n: v.copy() for n, v in arrays.items()} for arrays in (params, grads)]
    _, state = optim.adam(params, grads, optim.adam_start(params), 0.1)
    before = {n: v.copy() for n, v in state.m.items()}
    optim.adam(params, grads, state, 0.1)
    _, v = optim.sgd(params, grads, None, 0.1, 0.9)
    optim.sgd(params, grads, v, 0.1, 0.9)
    optim.clip_by_global_norm(grads, 0.01)
    for now, then in zip((params, grads, state.m), (*copies, before), strict=True):
        for name in then:
            np.testing.assert_array_equal(now[name], then[name])


def test_no_state_is_memory_of_the_caller_or_of_another_state():
    params, grads = gradients(np.random.default_rng(0)), gradients(np.random.default_rng(1))
    _, velocity = optim.sgd(params, grads, None, 0.1, 0.9)
    state = optim.adam_start(params)
    for name in params:
        assert not np.shares_memory(velocity[name], grads[name])
        assert not np.shares_memory(state.m[name], state.v[name])


@pytest.mark.claim("B9")
@given(seeds, st.sampled_from([1e-6, 1.0, 1e6]))
def test_clipping_by_the_global_norm_is_torchs(seed, max_norm):
    grads = gradients(np.random.default_rng(seed))
    leaves = leaves_of(grads, grads)
    expected = torch_optim.clip_by_global_norm(leaves, max_norm)
    clipped, norm = optim.clip_by_global_norm(grads, max_norm)
    assert abs(norm - expected.item()) <= 1e-14 * expected.item()
    agree(clipped, {n: v.grad.numpy() for n, v in zip(NAMES, leaves, strict=True)}, 1e-14)
    assert optim.global_norm(clipped) <= max(max_norm, 1e-300) * (1 + 1e-12)


@pytest.mark.claim("B9")
@pytest.mark.parametrize("special", [0.0, np.inf, -np.inf, np.nan])
def test_clipping_a_norm_of_zero_infinity_or_nan_gives_torchs_very_bits(special):
    grads = gradients(np.random.default_rng(0))
    if special == 0.0:
        grads = {name: 0 * g for name, g in grads.items()}
    grads["weight"][1, 2] = special
    leaves = leaves_of(grads, grads)
    expected = torch_optim.clip_by_global_norm(leaves, 0.7)
    with np.errstate(invalid="ignore"):
        clipped, norm = optim.clip_by_global_norm(grads, 0.7)
    np.testing.assert_equal(norm, expected.item())
    for name, leaf in zip(NAMES, leaves, strict=True):
        np.testing.assert_array_equal(clipped[name], leaf.grad.numpy())


@pytest.mark.claim("B9")
@given(seeds)
def test_clipping_keeps_the_direction_and_leaves_small_gradients_alone(seed):
    grads = gradients(np.random.default_rng(seed))
    clipped, norm = optim.clip_by_global_norm(grads, 1e-3)
    for name, g in grads.items():
        np.testing.assert_allclose(clipped[name] * (norm + 1e-6), g * 1e-3, rtol=1e-12)
    untouched, _ = optim.clip_by_global_norm(grads, 2 * float(norm))
    for name, g in grads.items():
        np.testing.assert_array_equal(untouched[name], g)


@pytest.mark.claim("B10")
@given(
    st.integers(0, 30),
    st.integers(1, 40),
    st.sampled_from([1e-3, 0.5]),
    st.sampled_from([0.0, 1e-4]),
    st.sampled_from([0.01, 0.25]),
)
def test_warm_up_and_cosine_are_torchs_rates_at_every_step(warmup, decay, peak, floor, start):
    optimizer = torch_optim.adam(leaves_of({n: np.ones(s) for n, s in SHAPES.items()}), peak)
    scheduler = torch_optim.warmup_cosine(optimizer, floor, decay, warmup, start)
    for t in range(warmup + decay + 1):
        rate = optim.warmup_cosine(t, peak, floor, decay, warmup, start)
        assert math.isclose(rate, scheduler.get_last_lr()[0], rel_tol=1e-9, abs_tol=1e-15 * peak)
        optimizer.step()
        scheduler.step()


@pytest.mark.claim("B10")
@given(st.integers(1, 50), st.integers(1, 50))
def test_the_rate_climbs_to_its_peak_and_falls_to_its_floor(warmup, decay):
    rates = [optim.warmup_cosine(t, 0.5, 0.01, decay, warmup) for t in range(warmup + decay + 1)]
    assert math.isclose(rates[0], 0.005) and rates[warmup] == 0.5
    assert math.isclose(rates[-1], 0.01, abs_tol=1e-15)
    assert all(np.diff(rates[: warmup + 1]) > 0) and all(np.diff(rates[warmup:]) < 0)


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble, np.complex128])
def test_every_step_keeps_the_dtype(dtype):
    rng = np.random.default_rng(0)
    params = {n: v.astype(dtype) for n, v in gradients(rng).items()}
    grads, _ = optim.clip_by_global_norm(params, 1.0)
    moved, state = optim.adam(params, grads, optim.adam_start(params), 0.1)
    again, v = optim.sgd(moved, grads, None, 0.1, 0.9)
    found = {a.dtype for d in (grads, moved, state.m, state.v, again, v) for a in d.values()}
    assert found == {np.dtype(dtype)}


@pytest.mark.claim("B10")
def test_rates_of_numpys_leave_float32_as_it_is():
    one, two = ({"w": np.full((2, 3), v, np.float32)} for v in (1, 2))
    rate = np.float64(0.1)
    found = [
        optim.clip_by_global_norm(two, rate)[0],
        *optim.sgd(one, two, one, rate, rate),
        optim.adam(one, two, optim.adam_start(one), rate, (rate, rate), rate)[0],
    ]
    assert [params["w"].dtype for params in found] == [np.float32] * 4


def test_adam_differs_from_the_paper_only_by_rounding():
    """Kingma & Ba divide m and v by 1 − βᵗ; torch and this package multiply η and √v by it."""
    rng = np.random.default_rng(0)
    theta = {"w": rng.standard_normal(1000)}
    published, m, v, state = theta["w"], 0, 0, optim.adam_start(theta)
    for t in range(1, 21):
        g = rng.standard_normal(1000)
        theta, state = optim.adam(theta, {"w": g}, state, 1e-2)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
        published = published - 1e-2 * m_hat / (np.sqrt(v_hat) + 1e-8)
    error = np.abs(theta["w"] - published).max()
    assert 0 < error < 1e-14


def test_clipping_differs_from_the_paper_by_one_part_in_a_million_of_the_norm():
    """Pascanu et al. scale to the norm c exactly; 10⁻⁶ in the denominator makes it a bit less."""
    clipped, norm = optim.clip_by_global_norm({"w": np.array([3.0, 4.0])}, 1.0)
    assert norm == 5.0
    np.testing.assert_allclose(optim.global_norm(clipped), 5 / (5 + 1e-6), rtol=1e-15)


def test_a_change_of_the_rate_acts_on_earlier_gradients_too():
    """Sutskever et al. multiply each g by its own rate. With one rate both forms are equal."""
    grads = [{"w": np.array([1.0])}, {"w": np.array([0.0])}]

    def ours(rates):
        theta, velocity = {"w": np.array([0.0])}, None
        for g, lr in zip(grads, rates, strict=True):
            theta, velocity = optim.sgd(theta, g, velocity, lr, momentum=0.5)
        return theta["w"][0]

    def published(rates):
        theta, v = 0.0, 0.0
        for g, lr in zip(grads, rates, strict=True):
            v = 0.5 * v - lr * g["w"][0]
            theta += v
        return theta

    assert ours([0.1, 0.1]) == published([0.1, 0.1])
    np.testing.assert_allclose([ours([0.1, 0.01]), published([0.1, 0.01])], [-0.105, -0.15])


def torch_rejects(error, optimizer, **options):
    """Assert that torch raises exactly this class; None means that it accepts the options."""
    leaves = leaves_of({n: np.ones(s) for n, s in SHAPES.items()})
    if error is None:
        optimizer(leaves, **options)
        return
    with pytest.raises(error) as caught:
        optimizer(leaves, **options)
    assert type(caught.value) is error


def ones():
    """Parameters or gradients of ones."""
    return {n: np.ones(s) for n, s in SHAPES.items()}


@pytest.mark.parametrize(
    ("options", "message", "error", "torch_error"),
    [
        ({"lr": -0.1}, "lr to be at least 0 and finite, got -0.1", ValueError, ValueError),
        ({"lr": np.nan}, "got nan", ValueError, None),
        ({"lr": np.inf}, "got inf", ValueError, None),
        ({"lr": None}, "lr to be a number, got NoneType", TypeError, TypeError),
        ({"lr": "0.1"}, "got str", TypeError, TypeError),
        ({"lr": 0.1, "momentum": -0.9}, "momentum to be at least 0", ValueError, ValueError),
        ({"lr": 0.1, "momentum": np.nan}, "got nan", ValueError, None),
        ({"lr": 0.1, "momentum": np.inf}, "got inf", ValueError, None),
    ],
)
def test_a_rate_of_sgd_that_is_not_finite_or_is_negative_is_rejected(
    options, message, error, torch_error
):
    rejects(error, message, lambda: optim.sgd(ones(), ones(), None, **options))
    torch_rejects(torch_error, torch_optim.sgd, **options)


@pytest.mark.parametrize(
    ("options", "message", "error", "torch_error"),
    [
        ({"lr": -0.1}, "lr to be at least 0 and finite, got -0.1", ValueError, ValueError),
        ({"lr": np.nan}, "got nan", ValueError, ValueError),
        ({"lr": np.inf}, "got inf", ValueError, None),
        ({"lr": [0.1]}, "lr to be a number, got list", TypeError, TypeError),
        ({"lr": 0.1j}, "lr to be a number, got complex", TypeError, TypeError),
        ({"betas": (1.0, 0.5)}, "betas[0] to be at least 0 and below 1", ValueError, ValueError),
        ({"betas": (0.5, -0.1)}, "betas[1]", ValueError, ValueError),
        ({"betas": (0.5, np.nan)}, "got nan", ValueError, ValueError),
        ({"betas": (0.5, 0.9, 0.9)}, "two numbers, got 3", ValueError, None),
        ({"betas": 0.9}, "two numbers, got float", TypeError, TypeError),
        ({"eps": -1e-8}, "eps to be at least 0", ValueError, ValueError),
        ({"eps": np.nan}, "got nan", ValueError, ValueError),
        ({"eps": np.inf}, "got inf", ValueError, None),
    ],
)
def test_a_rate_of_adam_that_is_not_finite_or_is_negative_is_rejected(
    options, message, error, torch_error
):
    options = {"lr": 0.1} | options
    step = lambda: optim.adam(ones(), ones(), optim.adam_start(ones()), **options)  # noqa: E731
    rejects(error, message, step)
    torch_rejects(torch_error, torch_optim.adam, **options)


def test_rates_of_zero_and_of_every_number_type_are_accepted():
    for zero in (0, 0.0, False, np.float32(0), np.array(0.0)):
        moved, _ = optim.sgd(ones(), ones(), None, zero, zero)
        agree(moved, ones(), 0)
        moved, _ = optim.adam(ones(), ones(), optim.adam_start(ones()), zero, (zero, zero), zero)
        agree(moved, ones(), 0)


def test_a_max_norm_of_zero_or_infinity_is_torchs_and_a_negative_one_or_nan_is_rejected():
    """torch reverses the gradient for a negative one, and makes it NaN for NaN."""
    for max_norm in (0, np.inf):
        leaves = leaves_of(ones(), ones())
        torch_optim.clip_by_global_norm(leaves, max_norm)
        clipped, _ = optim.clip_by_global_norm(ones(), max_norm)
        for name, leaf in zip(NAMES, leaves, strict=True):
            np.testing.assert_array_equal(clipped[name], leaf.grad.numpy())
    for max_norm in (-1.0, -np.inf, np.nan):
        leaves = leaves_of(ones(), ones())
        torch_optim.clip_by_global_norm(leaves, max_norm)
        assert not (leaves[0].grad > 0).any()
        message = f"at least 0, got {max_norm}"
        rejects(ValueError, message, optim.clip_by_global_norm, ones(), max_norm)
    rejects(TypeError, "got NoneType", optim.clip_by_global_norm, ones(), None)


def test_arrays_of_other_names_or_shapes_than_the_parameters_are_rejected():
    """NumPy would broadcast a gradient [4] to a parameter [3, 4]."""
    params, state = ones(), optim.adam_start(ones())
    other = {
        "missing ['scale'], unexpected []": {n: g for n, g in ones().items() if n != "scale"},
        "missing [], unexpected ['head']": ones() | {"head": np.ones(2)},
        "['weight'] of size (3, 4), as of the parameter, got (4,)": ones() | {"weight": np.ones(4)},
        "['scale'] of size (), as of the parameter, got (1,)": ones() | {"scale": np.ones(1)},
    }
    for message, arrays in other.items():
        rejects(RuntimeError, message, optim.sgd, params, arrays, None, 0.1)
        rejects(RuntimeError, message, optim.sgd, params, ones(), arrays, 0.1)
        rejects(RuntimeError, message, optim.adam, params, arrays, state, 0.1)
        for field in ("m", "v"):
            wrong = state._replace(**{field: arrays})
            rejects(RuntimeError, message, optim.adam, params, ones(), wrong, 0.1)
    leaf = torch.nn.Parameter(torch.ones(3, 4))
    with pytest.raises(RuntimeError, match="gradient of size"):
        leaf.grad = torch.ones(4)


def test_what_is_not_a_dict_of_arrays_is_rejected():
    params, state = ones(), optim.adam_start(ones())
    for bad, message in (
        (None, "dict of arrays, got NoneType"),
        (list(ones().values()), "dict of arrays, got list"),
        (ones() | {"bias": [1.0] * 5}, "['bias'] should be an array, got list"),
        (ones() | {"bias": None}, "['bias'] should be an array, got NoneType"),
    ):
        rejects(TypeError, message, optim.global_norm, bad)
        rejects(TypeError, message, optim.sgd, params, bad, None, 0.1)
        rejects(TypeError, message, optim.sgd, bad, ones(), None, 0.1)
        rejects(TypeError, message, optim.adam, params, bad, state, 0.1)
        rejects(TypeError, message, optim.adam_start, bad)
    rejects(TypeError, "adam_start", optim.adam, params, ones(), None, 0.1)
    before = state._replace(t=-1)
    rejects(ValueError, "state.t", optim.adam, params, ones(), before, 0.1)
