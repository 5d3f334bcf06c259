"""Assertions about a problem: the adjoint identity, agreement with torch and the textbook."""

from dataclasses import replace
from functools import partial

import numpy as np

from bptt_oracle.doors.complex_step import complex_step
from support import adjoints, textbook
from support.problems import STATE_OR_X, cast, draw, pull_back, solve, solve_by_torch


def random_like(arrays, seed=1):
    """Standard normal arrays of the same names, shapes and dtypes: cotangents or directions."""
    rng = np.random.default_rng(seed)
    return {k: rng.standard_normal(v.shape).astype(v.dtype) for k, v in arrays.items()}


def derivative(problem, direction):
    """J u for u = `direction`, by the complex step."""
    return complex_step(
        lambda inputs: solve(replace(problem, inputs=inputs))[0], problem.inputs, direction
    )


def adjoint_identity_holds(problem, tolerance=1e-12, seed=1):
    """Assert ⟨ȳ, J u⟩ = ⟨Jᵀȳ, u⟩ for random ȳ on every output and random u on every input.

    The difference is compared with the sum of the magnitudes of all products. The message names
    the inputs, gates and equations for which it fails.
    """
    outputs, tape = solve(problem)
    cotangents = random_like(outputs, seed)
    direction = random_like(problem.inputs, seed + 1)
    pulled = pull_back(problem, tape, cotangents)
    assert {n: d.shape for n, d in pulled.items()} == {n: v.shape for n, v in direction.items()}
    gap = adjoints.relative_gap(cotangents, derivative(problem, direction), pulled, direction)
    if not gap <= tolerance:
        parts = failing_parts_of(problem.net, problem, tolerance, seed)
        raise AssertionError(adjoints.message(gap, parts, problem.net.mode))


def failing_parts_of(net, problem=None, tolerance=1e-12, seed=1):
    """The (input, gate) for which the adjoint identity fails, of a problem or of one drawn."""
    problem = problem or draw(net, T=3, B=2)
    outputs, tape = solve(problem)
    cotangents = random_like(outputs, seed)
    direction = random_like(problem.inputs, seed + 1)
    pulled = pull_back(problem, tape, cotangents)
    return adjoints.failing_parts(
        partial(derivative, problem), cotangents, pulled, direction, tolerance, net.mode
    )


def agree(found, expected, tolerance=1e-12, least=0):
    """Assert that arrays have the same names and shapes, and differ only by rounding.

    The tolerance is relative to the largest element of each array, not of all of them, because a
    large gradient would hide a small one. It is relative to `least` if that is larger: terms of
    that size may cancel, and relu passes what is left.
    """
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        error = np.abs(found[name] - value)
        bound = tolerance * np.abs(value).max(initial=least)
        assert np.all(error <= bound), f"{name}: {error.max():.3g} exceeds {bound:.3g}"


def noise(problem, cotangents):
    """The error of a careful evaluation in the dtype of the inputs, and the truth, by name.

    The truth is the reference in float64. The error is that of the reference in the narrow dtype:
    the largest of three runs whose inputs are perturbed by about one unit roundoff, and at least
    one unit roundoff of the largest element.
    """
    unit = np.finfo(problem.inputs["x"].dtype).eps / 2
    truth = outputs_and_grads(cast(problem, np.float64), cotangents)
    errors = {name: unit * np.abs(v).max(initial=0) for name, v in truth.items()}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        perturbed = {
            name: v * (1 + unit * rng.choice([-2, 0, 2], v.shape)).astype(v.dtype)
            for name, v in problem.inputs.items()
        }
        for name, v in outputs_and_grads(replace(problem, inputs=perturbed), cotangents).items():
            errors[name] = max(errors[name], np.abs(v - truth[name]).max(initial=0))
    return errors, truth


def outputs_and_grads(problem, cotangents):
    """Outputs by name, and gradients under the names d_x, d_h_0 and so on."""
    outputs, tape = solve(problem)
    dtype = problem.inputs["x"].dtype
    cotangents = {name: d.astype(dtype) for name, d in cotangents.items()}
    return outputs | {f"d_{k}": d for k, d in pull_back(problem, tape, cotangents).items()}


def agrees_with_torch(problem, seed=1):
    """Assert that torch computes the same values and gradients, with random cotangents."""
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


def agrees_with_textbook(problem, step=None):
    """Assert that a single-step cell maps every row as the textbook equations do.

    `step(params, x, *state)` returns the next state of one row; the default is that of `textbook`.
    """
    outputs, _ = solve(problem)
    inputs = dict(problem.inputs)
    x, *state = [inputs.pop(name) for name in STATE_OR_X if name in inputs]
    step = step or textbook.STEP[problem.net.mode]
    rows = [step(inputs, *row) for row in zip(x, *state, strict=True)]
    expected = [np.array(column) for column in zip(*rows, strict=True)]
    eps = np.finfo(x.dtype).eps
    agree(outputs, dict(zip(outputs, expected, strict=True)), 64 * float(eps), least=1)


def keeps_dtype(problem, dtype):
    """Assert that values and gradients have the dtype of the inputs."""
    outputs, tape = solve(cast(problem, dtype))
    grads = pull_back(problem, tape, random_like(outputs))
    for name, value in (outputs | grads).items():
        assert value.dtype == dtype, name
