"""The numbers of a preflight: drawn by integers, exact in every dtype, and the same everywhere."""

import numpy as np
import pytest

from bptt_oracle.fleet.fixed_cases import (
    CASES,
    DTYPES,
    draw_integers,
    draw_problem,
    inputs_of,
    problem_digest,
    sample,
)
from torch_impl.execution.precision import stored


def splitmix(stream, count):
    """The same integers by Python's own, which have no size."""
    drawn = []
    for i in range(1, count + 1):
        z = (i + (stream << 32)) * 0x9E3779B97F4A7C15 % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        drawn.append((z ^ z >> 31) % 255 - 127)
    return drawn


@pytest.mark.parametrize("stream", [0, 1, 20_170, 2**31 - 1])
def test_the_integers_are_those_of_splitmix(stream):
    assert draw_integers(stream, 100).tolist() == splitmix(stream, 100)


def test_splitmix_is_the_published_generator():
    """The first output of seed 1234567, from the reference implementation of its authors."""
    z = (1234567 + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    assert z ^ z >> 31 == 6457827717110365317


@pytest.mark.parametrize("name", CASES)
def test_every_number_is_exact_in_every_dtype(name):
    problem = draw_problem(CASES[name])
    for value in (*inputs_of(problem).values(), problem.d_output, *problem.d_state):
        assert value.any() and len(np.unique(value)) > 100
        for dtype in DTYPES:
            assert np.array_equal(stored(value, dtype), value)


def test_copies_repeat_the_batch_and_share_its_cotangents():
    case = CASES["steps"]
    one, four = draw_problem(case), draw_problem(case, copies=4)
    assert all(np.array_equal(one.params[name], p) for name, p in four.params.items())
    assert np.array_equal(four.x, np.concatenate([one.x] * 4, axis=1))
    assert np.array_equal(4 * four.d_output[:, -case.B :], one.d_output)


def test_the_digest_depends_on_every_input():
    problem = draw_problem(CASES["steps"])
    before = problem_digest(problem)
    for value in (problem.params["bias_hh_l0"], problem.x, problem.state[1], problem.d_state[0]):
        value.flat[-1] += 2.0**-40
        changed = problem_digest(problem)
        assert changed != before
        before = changed


@pytest.mark.parametrize("name", CASES)
def test_a_sample_is_of_distinct_places_over_the_whole_tensor(name):
    places = sample(CASES[name], "d_weight_hh_l0", 4_194_304)
    assert len(places) > 4000 and (np.diff(places) > 0).all()
    assert places[0] < 10_000 and places[-1] > 4_180_000
    assert sample(CASES[name], "d_x", 100).tolist() == list(range(100))
