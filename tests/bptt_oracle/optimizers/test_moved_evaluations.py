"""Moved evaluations of an optimiser that are made at once have the errors of single ones."""

import numpy as np
import pytest

from bptt_oracle.judging.wide import narrow, wide_dtype
from bptt_oracle.optimizers import expectation
from bptt_oracle.optimizers.cases import draw, parse
from bptt_oracle.optimizers.expectation import evaluate, moved_runs
from bptt_oracle.optimizers.rounded import DifferentBranches, as_rounded, moved, to_nearest
from torch_impl.optimizers.table import OPTIMIZERS

LATE_AVERAGE = "ASGD.averaged.n3.generic.contiguous.contiguous.unit.s1"
COUNT = 60


def problem_of(optimizer):
    return draw(parse(f"{optimizer}.plain.n3.generic.contiguous.contiguous.unit.s1"), "float64")


def single_run(problem, dtype, seed):
    """One evaluation on its own."""
    return expectation._run(problem, moved(dtype, np.random.default_rng(seed)), wide_dtype(dtype))


def spread(runs, name):
    """The root mean square over runs and elements of the distance from the mean of the runs."""
    values = np.stack([narrow(run[name]) for run in runs])
    return float(np.sqrt(np.mean((values - values.mean(axis=0)) ** 2)))


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_one_evaluation_made_as_several_has_the_same_bits(optimizer, dtype):
    for label in OPTIMIZERS[optimizer].options:
        case = f"{optimizer}.{label}.n3.generic.contiguous.contiguous.unit.s1"
        problem = draw(parse(case), dtype)
        with np.errstate(all="ignore"):
            (grouped,) = moved_runs(problem, dtype, 1, wide_dtype(dtype))
            single = single_run(problem, dtype, [1, len(problem.grads)])
        assert grouped.keys() == single.keys()
        for name, value in single.items():
            assert np.array_equal(grouped[name], value, equal_nan=value.dtype != object), name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_evaluations_at_once_spread_as_single_ones_do(optimizer, dtype):
    problem = problem_of(optimizer)
    grouped = moved_runs(problem, dtype, COUNT, wide_dtype(dtype))
    single = [single_run(problem, dtype, [k, 1]) for k in range(COUNT)]
    assert len(grouped) == COUNT and grouped[0].keys() == single[0].keys()
    for name, value in single[0].items():
        assert all(run[name].shape == value.shape for run in grouped)
        expected = spread(single, name)
        assert 2 / 3 * expected <= spread(grouped, name) <= 3 / 2 * expected, name


def test_every_evaluation_moves_on_its_own():
    runs = moved_runs(problem_of("Adam"), "float32", COUNT, wide_dtype("float32"))
    for name in ("weight", "weight.exp_avg_sq"):
        assert len({run[name].tobytes() for run in runs}) == COUNT


def test_evaluations_that_take_different_branches_are_made_one_by_one(monkeypatch):
    """t − 1 − t₀ = 1, moved, exceeds 1 in some."""
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return evaluate(*arguments)

    monkeypatch.setattr(expectation, "evaluate", counted)
    problem = draw(parse(LATE_AVERAGE), "float64")
    runs = moved_runs(problem, "float64", COUNT, wide_dtype("float64"))
    assert len(runs) == COUNT and len(calls) == 1 + COUNT


def test_a_condition_is_that_of_all_evaluations():
    rounding = moved("float64", np.random.default_rng(0), axes=1)
    numbers = as_rounded(np.array([1.0, 2.0]), rounding)
    assert numbers > 0 and not numbers > 3 and numbers
    assert not as_rounded(np.array([0.0, 0.0]), rounding)
    with pytest.raises(DifferentBranches):
        bool(numbers > 1.5)
    with pytest.raises(DifferentBranches):
        bool(as_rounded(np.array([0.0, 1.0]), rounding))


def test_an_array_is_no_condition():
    for rounding, shape in ((to_nearest("float32"), 2), (moved("float32", None, axes=1), (2, 2))):
        array = as_rounded(np.ones(shape), rounding)
        for value in (array > 0, array):
            with pytest.raises(ValueError, match="ambiguous"):
                bool(value)
