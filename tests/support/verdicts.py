"""What is asked of a problem's solution: its adjoint, its agreement with torch and textbook."""

from dataclasses import replace

import numpy as np

from support import textbook
from support.problems import STATE_OR_X, cast, pull_back, solve, solve_by_torch


def random_like(arrays, seed=1):
    """A standard normal array of the shape and dtype of each: cotangents, directions."""
    rng = np.random.default_rng(seed)
    return {k: rng.standard_normal(v.shape).astype(v.dtype) for k, v in arrays.items()}


def derivative(problem, direction):
    """J u for u = `direction`, exactly: Im f(inputs + iεu)/ε, where no difference is taken."""
    step = 1e-30
    nudged = {name: v + 1j * step * direction[name] for name, v in problem.inputs.items()}
    outputs, _ = solve(replace(problem, inputs=nudged))
    return {name: value.imag / step for name, value in outputs.items()}


def adjoint_identity_holds(problem, tolerance=1e-12, seed=1):
    """Assert ⟨ȳ, J u⟩ = ⟨Jᵀȳ, u⟩ for random ȳ on every output and random u on every input.

    The difference is held against the magnitudes of all products that are summed.
    """
    outputs, tape = solve(problem)
    cotangents = random_like(outputs, seed)
    direction = random_like(problem.inputs, seed + 1)
    pushed = derivative(problem, direction)
    pulled = pull_back(problem, tape, cotangents)
    left = [cotangents[name] * pushed[name] for name in outputs]
    right = [pulled[name] * direction[name] for name in problem.inputs]
    assert all(pulled[name].shape == v.shape for name, v in problem.inputs.items())
    gap = abs(sum(t.sum() for t in left) - sum(t.sum() for t in right))
    assert gap <= tolerance * sum(np.abs(term).sum() for term in left + right)


def agree(found, expected, tolerance=1e-12, least=0):
    """Assert that arrays bear the same names and shapes, and differ by rounding alone.

    The unit is the largest element of each single array, never one for all of them: a large
    gradient would hide a small one. It is `least` where that is more: terms of that size may have
    cancelled, and relu lets through what is left.
    """
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        error = np.abs(found[name] - value)
        bound = tolerance * np.abs(value).max(initial=least)
        assert np.all(error <= bound), f"{name}: {error.max():.3g} exceeds {bound:.3g}"


def noise(problem, cotangents):
    """What a careful evaluation in the dtype of the inputs gets wrong, and the truth, by name.

    The truth is float64; the error is that of the reference in the narrow dtype, the largest of
    three runs whose inputs are moved by about one unit roundoff, and at least that of rounding.
    """
    unit = np.finfo(problem.inputs["x"].dtype).eps / 2
    truth = everything(cast(problem, np.float64), cotangents)
    errors = {name: unit * np.abs(v).max(initial=0) for name, v in truth.items()}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        moved = {
            name: v * (1 + unit * rng.choice([-2, 0, 2], v.shape)).astype(v.dtype)
            for name, v in problem.inputs.items()
        }
        for name, v in everything(replace(problem, inputs=moved), cotangents).items():
            errors[name] = max(errors[name], np.abs(v - truth[name]).max(initial=0))
    return errors, truth


def everything(problem, cotangents):
    """Outputs, and gradients under the names d_x, d_h_0 and so on."""
    outputs, tape = solve(problem)
    dtype = problem.inputs["x"].dtype
    given = {name: d.astype(dtype) for name, d in cotangents.items()}
    return outputs | {f"d_{k}": d for k, d in pull_back(problem, tape, given).items()}


def agrees_with_torch(problem, seed=1):
    """Assert that torch finds the same values and gradients, with cotangents on every output."""
    outputs, tape = solve(problem)
    cotangents = random_like(outputs, seed)
    values, grads = solve_by_torch(problem, cotangents)
    agree(outputs, values)
    agree(pull_back(problem, tape, cotangents), grads)


def agrees_with_torch_within_rounding(problem, seed=1):
    """The same in float32: torch's error is at most 32 times that of a careful evaluation."""
    narrow = cast(problem, np.float32)
    cotangents = random_like(solve(narrow)[0], seed)
    errors, truth = noise(narrow, cotangents)
    values, grads = solve_by_torch(narrow, cotangents)
    for name, value in (values | {f"d_{k}": d for k, d in grads.items()}).items():
        assert np.abs(value - truth[name]).max(initial=0) <= 32 * errors[name], name


def agrees_with_textbook(problem):
    """Assert that a single-step cell makes of every row what the textbook makes of it."""
    outputs, _ = solve(problem)
    inputs = dict(problem.inputs)
    x, *state = [inputs.pop(name) for name in STATE_OR_X if name in inputs]
    step = textbook.STEP[problem.net.mode]
    rows = [step(inputs, *row) for row in zip(x, *state, strict=True)]
    expected = [np.array(column) for column in zip(*rows, strict=True)]
    eps = np.finfo(x.dtype).eps
    agree(outputs, dict(zip(outputs, expected, strict=True)), 64 * float(eps), least=1)


def keeps_dtype(problem, dtype):
    """Assert that values and gradients come in the dtype of the inputs."""
    outputs, tape = solve(cast(problem, dtype))
    grads = pull_back(problem, tape, random_like(outputs))
    for name, value in (outputs | grads).items():
        assert value.dtype == dtype, name
