"""Sums over time: a loop of steps rounds more than one sum over all rows, and is not a fault."""

import numpy as np
import pytest
from hypothesis import given

import reference
from bptt_oracle.cases.case import draw, parse
from bptt_oracle.implementations.torch_paths import torch_implementation
from bptt_oracle.judging import truth as truths
from bptt_oracle.judging.evaluation import evaluate
from bptt_oracle.judging.rounding import sum_step_by_step
from bptt_oracle.judging.truth import MOVED_RUNS, expect
from bptt_oracle.runs.examine import examine
from reference.arithmetic import NUMPY
from support.drawn_cases import cases, pinned
from torch_impl.execution.catalogue import PATHS
from torch_impl.execution.run import dropout_masks

LONG = {  # each was near a false alarm, R 14 to 16, while the noise knew of sums at once alone
    "GRU.T129.B7.I2.H6.L3.tied.batch.h0.drop1.h_n.generic.s3657": ("cpu-manual", "float32"),
    "RNN_RELU.T97.B4.I5.H3.L1.tied.batch.output.tiny.s654": ("cpu-manual", "float64"),
    "LSTM.T300.B3.I4.H5.L1.tied.time.h0.h_n.generic.s1": ("cpu-manual", "float64"),
    "GRU.T300.B3.I4.H5.L1.time.h0.h_n.tiny.s2": ("cpu-manual", "float64"),
}


@pytest.mark.parametrize("name", LONG)
def test_what_a_loop_of_many_steps_rounds_in_its_sums_is_far_from_a_fault(name):
    path, dtype = LONG[name]
    (result,) = examine(parse(name), dtype, [torch_implementation(PATHS[path])])
    assert result.verdict == "agree" and result.R < 5


def test_what_many_rows_of_one_step_round_in_their_sums_is_far_from_a_fault():
    """R came to 13.7 while the rows of a step were summed at once."""
    case = parse("RNN_TANH.T1.B4000.I4.H3.L1.time.h0.h_n.tiny.s1")
    (result,) = examine(case, "float32", [torch_implementation(PATHS["cpu-native"])])
    assert result.verdict == "agree" and result.R < 5


@given(cases())
def test_step_by_step_the_sums_are_those_of_all_rows_at_once(case):
    problem = draw(case)
    masks = dropout_masks(problem, "float64")
    at_once = evaluate(problem, np.longdouble, masks)
    by_step = evaluate(problem, np.longdouble, masks, sum_step_by_step(NUMPY))
    noise = expect(problem, "float64", masks=masks).noise
    for name, value in at_once.items():
        assert np.abs(value - by_step[name]).max(initial=0) <= noise[name][0]


def test_the_last_step_comes_first_and_every_sum_rounds():
    """1 and then 2⁻²⁴ a hundred times is 1 in float32, and 1 + 100 · 2⁻²⁴ the other way round."""
    net = reference.RNN(1, 1, nonlinearity="relu", bias=False)
    params = {"weight_ih_l0": np.ones((1, 1), "f4"), "weight_hh_l0": np.zeros((1, 1), "f4")}
    x = np.full((101, 1, 1), 2.0**-24, "f4")
    x[-1] = 1

    def gradient(round_sum=None):
        arithmetic = sum_step_by_step(NUMPY, round_sum)
        output, _, tape = net.forward(params, x, arithmetic=arithmetic)
        return float(net.backward(tape, np.ones_like(output)).params["weight_ih_l0"][0, 0])

    assert gradient() == 1
    x = x[::-1].copy()
    assert gradient() == 1 + 100 * 2.0**-24
    seen = []
    doubled = gradient(lambda total: seen.append(total) or 2 * total)
    assert doubled == np.float32((2**102 - 4) * 2.0**-24 + 2)  # doubled 101 times to once
    assert len(seen) == 2 * 101  # after every step, of each of the two weights


def test_a_net_given_no_arithmetic_sums_at_once_whatever_was_given_to_another():
    net, rng = reference.RNN(2, 3), np.random.default_rng(0)
    params, x = net.init(rng), rng.standard_normal((4, 2, 2))
    first, _, before = net.forward(params, x)
    net.forward(params, x, arithmetic=sum_step_by_step(NUMPY, lambda total: 0 * total))
    d_params = net.backward(before, first).params
    assert all(d.any() for d in d_params.values())


@pytest.mark.parametrize("u", [None, 2.0**-11])
def test_every_run_that_makes_the_noise_sums_so_and_the_moved_ones_round(monkeypatch, u):
    """Sums round as the type does, whatever is rounded of the products' operands."""
    rounders = []

    def spy(exact, round_sum=None):
        rounders.append(round_sum)
        return sum_step_by_step(exact, round_sum)

    monkeypatch.setattr(truths, "sum_step_by_step", spy)
    expect(draw(pinned()), "float32", u)
    rounding = [rounded is not None for rounded in rounders]
    assert sum(rounding) == MOVED_RUNS and sum(rounding) < len(rounding)
    ones = np.ones((50, 40))
    for rounded in filter(None, rounders):
        moved = rounded(ones) - 1
        assert np.allclose(np.abs(moved), 2.0**-24, rtol=1e-6, atol=0)
        assert 0.4 < np.mean(moved > 0) < 0.6
