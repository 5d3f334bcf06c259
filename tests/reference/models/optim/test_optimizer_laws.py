"""Laws of the optimisers that need no torch: values by hand, symmetries, equivalent forms."""

import inspect

import numpy as np
import pytest
from hypothesis import given

from reference.models import optim
from support.calculus import agree, rejects
from support.optimizers import gradients
from support.strategies import seeds

# by name: the step after `start`, with a rate of 0.1
STEPS = {
    "adam": (optim.adam, optim.adam_start),
    "adamw": (optim.adamw, optim.adam_start),
    "adamax": (optim.adamax, optim.adamax_start),
    "nadam": (optim.nadam, optim.nadam_start),
    "radam": (optim.radam, optim.radam_start),
    "adagrad": (optim.adagrad, optim.adagrad_start),
    "adadelta": (optim.adadelta, optim.adadelta_start),
    "rmsprop": (optim.rmsprop, optim.rmsprop_start),
    "asgd": (optim.asgd, optim.asgd_start),
    "rprop": (optim.rprop, lambda params: optim.rprop_start(params, 0.1)),
    "sgd": (optim.sgd, lambda params: None),
}
WITHOUT_RATE = ("rprop",)
RATES = "lr", "weight_decay", "eps", "momentum", "lr_decay", "lambd", "alpha", "rho"
each = pytest.mark.parametrize("name", STEPS)


def run(name, params, grads, state=None, **options):
    """Parameters after one step for each of `grads`, and the last state."""
    step, start = STEPS[name]
    state = start(params) if state is None else state
    options = options if name in WITHOUT_RATE else {"lr": 0.1} | options
    for g in grads:
        params, state = step(params, g, state, **options)
    return params, state


def numbers(*values):
    """One parameter of these values."""
    return {"w": np.array(values)}


def drawn(seed, steps=4):
    """Parameters, and gradients of some steps."""
    rng = np.random.default_rng(seed)
    return gradients(rng), [gradients(rng) for _ in range(steps)]


@each
@given(seed=seeds)
def test_to_maximise_is_to_minimise_the_negative(name, seed):
    params, grads = drawn(seed)
    negative = [{n: -g for n, g in of_step.items()} for of_step in grads]
    agree(run(name, params, grads, maximize=True)[0], run(name, params, negative)[0], 0)


@pytest.mark.parametrize("name", [n for n in STEPS if n not in ("adamw", "rprop")])
def test_weight_decay_is_the_gradient_of_a_penalty(name):
    params, (g,) = drawn(0, 1)
    penalised = {n: g[n] + 0.3 * p for n, p in params.items()}
    found, _ = run(name, params, [g], weight_decay=0.3)
    agree(found, run(name, params, [penalised])[0], 0)
    assert (found["weight"] != run(name, params, [g])[0]["weight"]).any()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adamw", {}),
        ("nadam", {"decoupled_weight_decay": True}),
        ("radam", {"decoupled_weight_decay": True}),
    ],
)
def test_decoupled_weight_decay_shrinks_a_parameter_without_gradient(name, options):
    found, state = run(name, numbers(2.0), [numbers(0.0)] * 2, weight_decay=0.5, **options)
    np.testing.assert_allclose(found["w"], 2 * (1 - 0.1 * 0.5) ** 2, rtol=1e-15)
    assert state.m["w"] == 0


@pytest.mark.parametrize("name", ["adam", "adamax", "nadam", "radam", "rmsprop", "adagrad"])
def test_without_eps_a_step_does_not_depend_on_the_scale_of_the_gradient(name):
    params, grads = drawn(0, 8)
    params = {n: np.zeros_like(p) for n, p in params.items()}
    larger = [{n: 8 * g for n, g in of_step.items()} for of_step in grads]
    first, second = (run(name, params, g, eps=0.0)[0] for g in (grads, larger))
    if name == "radam":  # the first five steps are not rectified
        first, second = (run(name, params, g[:1], eps=0.0)[0] for g in (grads, larger))
        agree(second, {n: 8 * v for n, v in first.items()}, 1e-14)
    else:
        agree(second, first, 1e-14)


@each
def test_no_step_changes_what_it_was_given_and_every_dtype_stays(name):
    for dtype in (np.float32, np.longdouble):
        params, grads = drawn(0)
        params = {n: p.astype(dtype) for n, p in params.items()}
        grads = [{n: g.astype(dtype) for n, g in of_step.items()} for of_step in grads]
        moved, state = run(name, params, grads[:2])
        fields = [state] if name == "sgd" else list(state[1:])
        given = [params, *grads, moved, *fields]
        copies = [{n: v.copy() for n, v in arrays.items()} for arrays in given]
        again, after = run(name, moved, grads[2:], state)
        for now, then in zip(given, copies, strict=True):
            agree(now, then, 0)
        found = [again] + ([after] if name == "sgd" else list(after[1:]))
        assert {v.dtype for arrays in found for v in arrays.values()} == {np.dtype(dtype)}
        for arrays in found[1:]:
            for n, v in arrays.items():
                assert not any(np.shares_memory(v, other[n]) for other in (again, grads[-1]))


def test_dampening_and_nesterov_of_three_gradients_by_hand():
    grads = [numbers(g) for g in (1.0, 10.0, 100.0)]
    _, v = run("sgd", numbers(0.0), grads, lr=1.0, momentum=0.5, dampening=0.25)
    assert v["w"] == 0.5 * (0.5 * 1 + 0.75 * 10) + 0.75 * 100
    theta, _ = run("sgd", numbers(0.0), grads, lr=1.0, momentum=0.5, nesterov=True)
    v = (1, 10 + 0.5, 100 + 5.25)
    assert theta["w"] == -sum(g["w"] + 0.5 * u for g, u in zip(grads, v, strict=True))


def test_amsgrad_never_forgets_the_largest_mean_square():
    grads = [numbers(g) for g in (100.0, 1.0, 1.0)]
    state = optim.adam_start(numbers(0.0), amsgrad=True)
    params, seen = numbers(0.0), []
    for g in grads:
        params, state = optim.adam(params, g, state, 0.1, amsgrad=True)
        seen.append((state.v["w"].item(), state.v_max["w"].item()))
    assert seen[0][0] == seen[0][1] == seen[1][1] == seen[2][1] > seen[2][0]
    root = np.sqrt(seen[0][0] / (1 - 0.999**3))
    step = 0.1 * state.m["w"] / (1 - 0.9**3) / (root + 1e-8)
    before, _ = run("adam", numbers(0.0), grads[:2], optim.adam_start(numbers(0.0), True),
                    amsgrad=True)  # fmt: skip
    np.testing.assert_allclose(before["w"] - params["w"], step, rtol=1e-12)


def test_a_constant_gradient_has_the_steps_that_the_equations_give():
    """Adamax, NAdam: η; Adagrad: η/√t; RMSprop: η/√(1 − αᵗ); centered: the deviation is 0."""
    constant = [numbers(3.0)] * 5
    for name, total in [
        ("adamax", 5),
        ("adagrad", sum(1 / np.sqrt(t) for t in range(1, 6))),
        ("rmsprop", sum(1 / np.sqrt(1 - 0.99**t) for t in range(1, 6))),
    ]:
        found, _ = run(name, numbers(0.0), constant, eps=0.0)
        np.testing.assert_allclose(found["w"], -0.1 * total, rtol=1e-12, err_msg=name)
    _, state = run("rmsprop", numbers(0.0), constant, optim.rmsprop_start(numbers(0.0), True),
                   centered=True, alpha=0.5)  # fmt: skip
    np.testing.assert_allclose(state.mean["w"], 3 * (1 - 0.5**5))
    np.testing.assert_allclose(state.s["w"], 9 * (1 - 0.5**5))


def test_nadam_without_momentum_is_rmsprop_with_a_corrected_mean():
    params, grads = drawn(0, 3)
    found, state = run("nadam", params, grads, betas=(0.0, 0.9), eps=0.0)
    expected, v = params, {n: 0.0 for n in params}
    for t, g in enumerate(grads, 1):
        v = {n: 0.9 * v[n] + 0.1 * g[n] ** 2 for n in v}
        expected = {n: expected[n] - 0.1 * g[n] / np.sqrt(v[n] / (1 - 0.9**t)) for n in v}
    agree(found, expected, 1e-13)


def test_the_first_step_of_nadam_by_hand():
    mu, mu_next = (0.9 * (1 - 0.96 ** (t * 4e-3) / 2) for t in (1, 2))
    found, _ = run("nadam", numbers(0.0), [numbers(2.0)], eps=0.0)
    both = 1 + mu_next * 0.1 / (1 - mu * mu_next)  # of g, whose share is (1 − μ₁)/(1 − μ₁), and m
    np.testing.assert_allclose(found["w"], -0.1 * both, rtol=1e-12)


def test_radam_is_momentum_alone_until_it_rectifies():
    """ρ passes 5 at the sixth step; before, a constant gradient has steps of η g."""
    constant = [numbers(3.0)] * 6
    found, _ = run("radam", numbers(0.0), constant[:5])
    np.testing.assert_allclose(found["w"], -0.1 * 3 * 5, rtol=1e-12)
    sixth, _ = run("radam", numbers(0.0), constant, eps=0.0)
    limit = 1999.0
    rho = limit - 12 * 0.999**6 / (1 - 0.999**6)
    r = np.sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho))
    np.testing.assert_allclose(found["w"] - sixth["w"], 0.1 * r, rtol=1e-9)


def test_the_first_step_of_adadelta_has_the_size_of_the_root_of_eps():
    found, state = run("adadelta", numbers(0.0), [numbers(1e3)], lr=1.0, rho=0.75, eps=1e-2)
    d = 0.1 / np.sqrt(0.25 * 1e6 + 1e-2) * 1e3
    np.testing.assert_allclose(found["w"], -d, rtol=1e-15)
    np.testing.assert_allclose(state.a["w"], 0.25 * d**2, rtol=1e-15)


def test_asgd_averages_the_steps_after_the_start():
    theta, seen, state = numbers(0.0), [], None
    for _ in range(6):
        theta, state = run("asgd", theta, [numbers(1.0)], state, t0=2.0, lambd=0.0)
        seen.append(theta["w"])
    # the average starts anew at step 4 = t0 + 2, the first with a share other than 1
    np.testing.assert_allclose(state.average["w"], np.mean(seen[3:]), rtol=0.1)
    expected = seen[3]
    for t in (5, 6):
        expected = expected + (seen[t - 1] - expected) / (t - 1 - 2)
    np.testing.assert_allclose(state.average["w"], expected, rtol=1e-15)


def test_rprop_grows_shrinks_and_stands_still_by_the_signs():
    theta, state = numbers(0.0, 0.0, 0.0), optim.rprop_start(numbers(0.0, 0.0, 0.0), 1.0)
    theta, state = optim.rprop(theta, numbers(5.0, 1e-200, 1.0), state)
    np.testing.assert_array_equal(theta["w"], [-1.0, -1.0, -1.0])
    theta, state = optim.rprop(theta, numbers(1.0, 1e-200, -1.0), state)
    np.testing.assert_allclose(theta["w"], [-2.2, -2.2, -1.0])
    np.testing.assert_allclose(state.size["w"], [1.2, 1.2, 0.5])
    theta, state = optim.rprop(theta, numbers(-1.0, 0.0, -1.0), state)
    np.testing.assert_allclose(theta["w"], [-2.2, -2.2, -0.5])
    np.testing.assert_allclose(state.size["w"], [0.6, 1.2, 0.5])


@pytest.mark.parametrize("p", [1.0, 2.0, np.inf])
@given(seed=seeds)
def test_the_norm_is_that_of_all_gradients_in_one_vector(p, seed):
    grads = gradients(np.random.default_rng(seed))
    vector = np.concatenate([g.ravel() for g in grads.values()])
    np.testing.assert_allclose(optim.global_norm(grads, p), np.linalg.norm(vector, p), rtol=1e-14)
    assert optim.global_norm({}, p) == optim.global_norm({"w": np.zeros((0, 2))}, p) == 0


def test_clipping_by_value_moves_what_is_outside():
    g = numbers(-3.0, -1.0, 0.5, 2.0, np.inf, -np.inf, np.nan)
    expected = [-1.0, -1.0, 0.5, 1.0, 1.0, -1.0, np.nan]
    np.testing.assert_array_equal(optim.clip_by_value(g, 1)["w"], expected)
    np.testing.assert_array_equal(optim.clip_by_value(g, np.inf)["w"], g["w"])


def test_arguments_out_of_range_are_rejected():
    params, g = numbers(1.0), numbers(1.0)
    for name, (step, start) in STEPS.items():
        state = start(params)
        known = inspect.signature(step).parameters
        for option in RATES:
            if option in known:
                arguments = ({} if name in WITHOUT_RATE else {"lr": 0.1}) | {option: -1.0}
                rejects(
                    ValueError,
                    f"{option} to be at least 0",
                    lambda a=arguments, s=step, st=state: s(params, g, st, **a),
                )
        if name != "sgd":
            wrong = None if name in WITHOUT_RATE else 0.1
            rest = () if wrong is None else (wrong,)
            rejects(TypeError, "begin with", step, params, g, None, *rest)
            rejects(ValueError, "state.t", step, params, g, state._replace(t=-1), *rest)
            rejects(RuntimeError, "missing ['w']", step, params, {}, state, *rest)
    rejects(ValueError, "nesterov", lambda: optim.sgd(params, g, None, 0.1, nesterov=True))
    state = optim.rprop_start(params, 0.1)
    rejects(ValueError, "etas", optim.rprop, params, g, state, (1.2, 0.5))
    rejects(ValueError, "two numbers, got 1", optim.rprop, params, g, state, (0.5,))
    rejects(ValueError, "ascending", optim.rprop, params, g, state, (0.5, 1.2), (2.0, 1.0))
    rejects(ValueError, "p to be 1, 2 or inf", optim.global_norm, g, 3)
    rejects(ValueError, "max_value", optim.clip_by_value, g, -1.0)
    rejects(ValueError, "max_value", optim.clip_by_value, g, np.nan)
    for bad in (np.inf, np.nan):
        with np.errstate(invalid="ignore"):
            call = lambda bad=bad: optim.clip_by_global_norm(  # noqa: E731
                numbers(bad), 1.0, error_if_nonfinite=True
            )
            rejects(RuntimeError, "finite norm", call)
