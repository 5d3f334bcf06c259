"""Derivatives along a direction are those of central differences, in any order of the units."""

import numpy as np
import pytest

from bptt_oracle.cases.case import draw
from bptt_oracle.judging.evaluation import evaluate
from bptt_oracle.judging.judge import judge
from bptt_oracle.judging.location import location
from bptt_oracle.judging.renumbering import evaluate_renumbered
from bptt_oracle.judging.truth import expect
from reference.arithmetic import NUMPY
from support.drawn_cases import pinned, rng_of
from torch_impl.roads.directional import with_direction

CASES = [
    pinned(bidirectional=True, P=2, layout="packed", lengths=(2, 5, 1)),
    pinned(cell="GRU", layout="batch", tied=True, cotangents=("output",), state=False),
    pinned(cell="RNN_TANH", T=1, layout="unbatched", B=1, cotangents=("h_n",)),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)


def moved(problem, step):
    """The problem after a step along its direction, itself without one."""
    direction = problem.direction
    new = {id(p): p + step * direction.params[name] for name, p in problem.params.items()}
    state = problem.state
    return problem._replace(
        params={name: new[id(p)] for name, p in problem.params.items()},
        x=problem.x + step * direction.x,
        state=state and tuple(s + step * v for s, v in zip(state, direction.state, strict=True)),
        direction=None,
    )


@each_case
def test_derivatives_along_a_direction_are_central_differences_in_longdouble(case):
    problem, wide = with_direction(draw(case)), np.longdouble
    step = wide(1e-6)
    ahead, behind = (evaluate(moved(problem, s), wide) for s in (step, -step))
    found, plain = evaluate(problem, wide), evaluate(moved(problem, 0), wide)
    compared = 0
    for name in ahead:
        own = f"hv_{name[2:]}" if name.startswith("d_") else f"t_{name}"
        slope = (ahead[name] - behind[name]) / (2 * step)
        assert np.allclose(found[own], slope, rtol=1e-7, atol=1e-9), own
        assert np.allclose(found[name], plain[name], rtol=1e-15, atol=1e-17)
        compared += 1
    assert compared >= 5 and len(found) == 2 * compared


@each_case
def test_renumbered_units_have_the_same_derivatives(case):
    problem = with_direction(draw(case._replace(tied=False)))
    other = evaluate_renumbered(problem, "float64", (), NUMPY, rng_of(case))
    for name, value in evaluate(problem, "float64").items():
        assert np.allclose(other[name], value, rtol=1e-9, atol=1e-12), name


@each_case
def test_an_error_of_a_derivative_is_a_fault_and_has_a_place(case):
    problem = with_direction(draw(case))
    expected = expect(problem, "float32")
    right = evaluate(problem, "float64")
    assert judge(right, expected).word == "agree"
    for name in right:
        wrong = judge(right | {name: right[name] * 1.01}, expected)
        assert wrong.word == "fault" and wrong.worst.tensor == name
        first = location(case, name, wrong.worst.at)
        assert first == location(case, name.removeprefix("t_").replace("hv_", "d_"), wrong.worst.at)


def test_a_direction_of_a_tied_parameter_is_one_array():
    problem = with_direction(draw(pinned(tied=True)))
    assert problem.direction.params["bias_ih_l0"] is problem.direction.params["bias_hh_l0"]
    untied = with_direction(draw(pinned()))
    assert untied.direction.params["bias_ih_l0"] is not untied.direction.params["bias_hh_l0"]
