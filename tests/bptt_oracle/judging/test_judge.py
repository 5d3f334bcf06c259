"""What the judge must detect, and what it must not report."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from bptt_oracle.cases.case import draw, parse
from bptt_oracle.cases.corpus import corpus
from bptt_oracle.implementations.torch_paths import torch_implementation, torch_path
from bptt_oracle.judging import truth as truths
from bptt_oracle.judging import wide
from bptt_oracle.judging.confirmation import judge_and_confirm
from bptt_oracle.judging.evaluation import evaluate
from bptt_oracle.judging.judge import LIMIT, judge, score
from bptt_oracle.judging.noise import (
    ElementNoise,
    Floors,
    deviation_of,
    element_noise,
    error_sizes,
    tensor_noise,
)
from bptt_oracle.judging.offsets import collect_offsets
from bptt_oracle.judging.renumbering import evaluate_renumbered
from bptt_oracle.judging.rounding import (
    hold_relu,
    move_activations,
    random_factors,
    record_smallest_gate,
    shut_gates,
    sum_step_by_step,
)
from bptt_oracle.judging.truth import Expected, expect
from bptt_oracle.runs.examine import examine
from bptt_oracle.runs.selftest import run_trial
from reference.arithmetic import NUMPY, Arithmetic
from reference.cells.table import CELL_TABLE
from support.drawn_cases import cases, pinned, rng_of
from torch_impl.execution.catalogue import PATHS
from torch_impl.execution.problem import is_tied
from torch_impl.execution.run import dropout_masks, run

NATIVE = PATHS["cpu-native"]
KINK_AT_0 = "RNN_RELU.T6.B5.I3.H1.L2.bi.tied.time.drop0_3.h_n.exact.s11008119"
SMALL = [
    "LSTM.T3.B2.I2.H4.L2.bi.P2.packed-1-3.h0.drop0_3.output+h_n+c_n.generic.s1",
    "GRU.T4.B2.I3.H2.L1.time.h0.output+h_n.saturated.s2",
    "RNN_RELU.T3.B2.I3.H4.L2.bi.batch.h0.output.cancelling.s3",
    "RNN_TANH.T3.B1.I3.H4.L1.unbatched.h_n.tiny.s4",
    "LSTM.T3.B2.I3.H2.L1.tied.time.output.wide.s5",
]


def measured(case, dtype):
    problem = draw(case)
    masks = dropout_masks(problem, dtype)
    return problem, masks, expect(problem, dtype, masks=masks)


@given(cases(), st.sampled_from(["float32", "float64"]))
def test_the_reference_in_the_tested_type_is_never_a_fault(case, dtype):
    problem, masks, expected = measured(case, dtype)
    by_step = sum_step_by_step(NUMPY)
    verdict = judge(evaluate(problem, np.dtype(dtype), masks, by_step), expected)
    assert verdict.word != "fault" and verdict.worst.R <= 1.001
    assert judge(evaluate(problem, np.dtype(dtype), masks), expected).word != "fault"


@given(cases(), st.sampled_from(["float32", "float64"]), st.sampled_from([-1, 1]))
def test_a_fault_of_32_noises_in_one_element_is_detected(case, dtype, sign):
    problem, masks, expected = measured(case, dtype)
    results = run(NATIVE, problem, dtype, masks).results
    decisive = [s.tensor for s in judge(results, expected).scores if not s.ill]
    decisive = [n for n in decisive if 0 < expected.noise[n][0] < np.inf]
    assume(decisive)
    rng = rng_of(case)
    name = decisive[rng.integers(len(decisive))]
    wrong = results[name].astype(expected.truth[name].dtype)
    wrong[tuple(rng.integers(wrong.shape))] += sign * 32 * expected.noise[name][0]
    verdict = judge(results | {name: wrong}, expected)
    assert (verdict.word, verdict.worst.tensor) == ("fault", name)


@given(cases(regimes=("generic", "saturated", "cancelling", "wide")))
def test_one_element_of_one_gradient_off_by_a_millionth_is_detected(case):
    problem, masks, expected = measured(case, "float64")
    results = run(NATIVE, problem, "float64", masks).results
    rng = rng_of(case)
    names = [n for n in results if n.startswith("d_") and np.abs(results[n]).max() > 0]
    names = [n for n in names if expected.noise[n][0] < 1e-9 * np.abs(expected.truth[n]).max()]
    assume(names)
    name = names[rng.integers(len(names))]
    wrong = results[name].copy()
    wrong[tuple(rng.integers(wrong.shape))] += 1e-6 * np.abs(wrong).max()
    assert judge(results | {name: wrong}, expected).word == "fault"


@pytest.mark.parametrize("case", corpus(24), ids=lambda case: case.id)
def test_on_the_corpus_nothing_is_a_false_alarm_and_every_planted_mistake_is_detected(case):
    outcome = run_trial(case)
    assert outcome.alarms == []
    assert [mistake for mistake, detected in outcome.planted if not detected] == []


@pytest.mark.claim("X6")
def test_over_many_tensors_the_median_of_R_is_near_one_half():
    ratios = [
        r for case in corpus(24) for values in run_trial(case).ratios.values() for r in values
    ]
    assert 0.2 <= np.median(ratios) <= 1
    assert max(ratios) < LIMIT / 2


def test_each_tensor_has_its_own_noise():
    expected = Expected(
        {"large": np.array([1e6]), "small": np.array([1e-6])},
        {"large": (0.1, 0.1), "small": (1e-13, 1e-13)},
        False,
    )
    assert (
        judge({"large": np.array([1e6]), "small": np.array([1.001e-6])}, expected).word == "fault"
    )


def test_a_slight_wrongness_of_all_elements_counts_though_none_is_large():
    value = np.zeros(400)
    noise = (1.0, 0.05)  # one noisy element among four hundred
    wrong = value + 0.9
    assert score("x", wrong, value, noise).R > LIMIT
    one = value.copy()
    one[3] = 0.9
    assert score("x", one, value, noise).R < 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_where_truth_is_finite_is_a_fault(bad):
    assert np.inf == score("x", np.array([1.0, bad]), np.array([1.0, 2.0]), (1e9, 1e9)).R


def test_nan_is_no_rounding_however_large_the_noise():
    expected = Expected({"x": np.array([1e-9, 2e-9])}, {"x": (1e-8, 1e-8)}, False)
    assert judge({"x": np.array([1e-8, np.nan])}, expected).word == "fault"


def test_infinities_and_nan_of_truth_must_be_met_exactly():
    true = np.array([np.inf, np.nan, 1.0])
    assert score("x", np.array([np.inf, np.nan, 1.0]), true, (1e-9, 1e-9)).R == 0
    assert np.inf == score("x", np.array([-np.inf, np.nan, 1.0]), true, (1e-9, 1e-9)).R
    assert np.inf == score("x", np.array([np.inf, 0.0, 1.0]), true, (1e-9, 1e-9)).R


def test_a_wrong_shape_is_a_fault_and_a_missing_tensor_an_error():
    expected = Expected({"x": np.ones((2, 3))}, {"x": (1e-9, 1e-9)}, False)
    assert judge({"x": np.ones((3, 2))}, expected).word == "fault"
    with pytest.raises(KeyError):
        judge({}, expected)


def test_a_case_whose_noise_exceeds_its_values_is_untrusted_not_faulty():
    expected = Expected({"x": np.array([1e-9, 2e-9])}, {"x": (1e-8, 1e-8)}, False)
    assert judge({"x": np.array([1e-8, 0.0])}, expected).word == "untrusted"


def test_agreement_that_zeros_would_find_as_well_is_untrusted():
    truth, noise = np.array([1.0, 2.0]), (0.2, 0.2)
    expected = Expected({"x": truth}, {"x": noise}, False)
    for value in truth, truth + 0.1, np.zeros(2), -0.5 * truth:
        assert judge({"x": value}, expected).word == "untrusted"
    assert judge({"x": 3 * truth}, expected).word == "fault", "20 noises off are not an agreement"
    for noise in (0.12, 0.2), (0.2, 0.09):  # by its largest element, by its mean
        assert judge({"x": truth}, Expected({"x": truth}, {"x": noise}, False)).word == "agree"
        zeros = judge({"x": 0 * truth}, Expected({"x": truth}, {"x": noise}, False))
        assert zeros.word == "fault"


def test_zeros_agree_nowhere_over_the_corpus():
    for case in corpus(24):
        problem, masks, expected = measured(case, "bfloat16")
        zeros = {name: np.zeros_like(value) for name, value in expected.truth.items()}
        for s in judge(zeros, expected).scores:
            assert s.ill or s.R > LIMIT or not expected.truth[s.tensor].any(), (case.id, s.tensor)


def test_in_the_exact_regime_the_last_bit_decides():
    expected = Expected({"x": np.array([1.0, 2.0])}, {"x": (1e-7, 1e-7)}, True)
    off = np.array([1.0, np.nextafter(2.0, 3)])
    assert judge({"x": off}, expected).word == "agree"
    assert judge({"x": off}, expected, exact=True).word == "fault"


def test_where_longdouble_is_no_wider_float64_is_judged_by_mpmath_and_agrees(monkeypatch):
    (before,) = examine(pinned(), "float64", [torch_implementation(NATIVE)])
    monkeypatch.setattr(wide, "longdouble_is_wider", lambda: False)
    (after,) = examine(pinned(), "float64", [torch_implementation(NATIVE)])
    (single,) = examine(pinned(), "float32", [torch_implementation(NATIVE)])
    assert (before.verdict, after.verdict, single.verdict) == ("agree", "agree", "agree")
    assert pytest.approx(before.R, rel=0.01) == after.R
    assert "mpmath" in wide.describe_longdouble()


@pytest.mark.parametrize("name", SMALL)
def test_truth_and_noise_by_mpmath_are_those_in_longdouble(name, monkeypatch):
    problem, masks, by_longdouble = measured(parse(name), "float64")
    monkeypatch.setattr(wide, "longdouble_is_wider", lambda: False)
    by_mpmath = expect(problem, "float64", masks=masks)
    for tensor, truth in by_longdouble.truth.items():
        noise = by_longdouble.noise[tensor]
        assert by_mpmath.truth[tensor].dtype == object
        difference = wide.absolute_difference(truth.astype(float), by_mpmath.truth[tensor])
        exact = np.abs(truth.astype(float) - truth).astype(float)
        assert np.abs(difference - exact).max() <= 0.01 * noise[0]
        assert by_mpmath.noise[tensor] == pytest.approx(noise, rel=0.01)


def test_a_mistake_in_float64_is_a_fault_where_longdouble_is_no_wider(monkeypatch):
    monkeypatch.setattr(wide, "longdouble_is_wider", lambda: False)
    problem, masks, expected = measured(pinned(), "float64")
    results = run(NATIVE, problem, "float64", masks).results
    assert judge(results, expected).word == "agree"
    for name, noise in expected.noise.items():
        wrong = results[name].copy()
        wrong.flat[-1] += 32 * noise[0]
        assert judge(results | {name: wrong}, expected).word == "fault", name


def test_a_case_too_large_for_mpmath_is_untrusted_and_says_why(monkeypatch):
    monkeypatch.setattr(wide, "longdouble_is_wider", lambda: False)
    monkeypatch.setattr(truths, "LARGEST_MULTIPRECISION", 10)
    (result,) = examine(pinned(), "float64", [torch_implementation(NATIVE)])
    assert result.verdict == "untrusted" and "too large for mpmath" in result.note


def nan(a, out=None):
    """An activation whose values are all NaN."""
    out = np.empty_like(a) if out is None else out
    out[:] = np.nan
    return out


@pytest.mark.parametrize("name", CELL_TABLE)
def test_every_activation_of_every_cell_is_the_arithmetics(name, monkeypatch):
    """Where NumPy's own functions raise, nothing is computed but by the arithmetic given; and each
    of its functions that the cell uses reaches the output."""
    case = pinned(cell=name, layers=1, cotangents=("output", "h_n"))
    problem = draw(case)
    elementwise = {f: getattr(np, f) for f in ("exp", "tanh", "reciprocal", "maximum", "log")}
    functions = {
        "sigmoid": lambda a: 1 / (1 + elementwise["exp"](-a)),
        "tanh": elementwise["tanh"],
        "relu": lambda a: np.where(a > 0, a, 0),
    }
    used = set()

    def spy(function):
        def activation(a, out=None):
            used.add(function)
            value = functions[function](a)
            if out is None:
                return value
            out[:] = value
            return out

        return activation

    def escaped(*arguments, **options):
        raise AssertionError("an activation escaped the arithmetic")

    for function in elementwise:
        monkeypatch.setattr(np, function, escaped)
    spied = Arithmetic(*map(spy, functions), NUMPY.sum_gradients)
    results = evaluate(problem, np.float64, (), spied)
    assert used and np.isfinite(results["output"]).all()
    for function in used:
        poisoned = spied._replace(**{function: nan})
        assert np.isnan(evaluate(problem, np.float64, (), poisoned)["output"]).any()


def test_judging_replaces_nothing_and_runs_in_several_threads_at_once():
    """The noise of a problem is the same whether other threads are judging at the time or not."""
    problems = [draw(pinned(seed=seed)) for seed in range(8)]
    serial = [expect(problem, "float32").noise for problem in problems]
    with ThreadPoolExecutor(4) as pool:
        parallel = pool.map(lambda problem: expect(problem, "float32").noise, problems)
        assert list(parallel) == serial


def test_a_held_relu_lets_pass_what_it_is_told_whatever_the_sign():
    sides, least = np.array([[True, True, False, False, True]]), np.full((1, 5), 1e-9)
    a = np.array([[-1e-7, 0.0, 1e-7, -1.0, 1.0]])
    assert hold_relu(NUMPY, [sides], [least]).relu(a).tolist() == [[1e-9, 1e-9, 0, 0, 1]]
    undefined = np.array([[np.nan] * 5])
    held = hold_relu(NUMPY, [sides], [least]).relu(undefined)
    assert np.isnan(held).tolist() == sides.tolist()


def test_a_shut_gate_is_0_where_it_is_nearly_0():
    a = np.array([-88.0, -86.0, 0.0])
    below = 2 * float(np.finfo("float32").tiny)
    assert (shut_gates(NUMPY, below).sigmoid(a) == [0, NUMPY.sigmoid(a)[1], 0.5]).all()
    smallest = []
    record_smallest_gate(NUMPY, smallest).sigmoid(a)
    assert smallest == [NUMPY.sigmoid(a)[0]]


def test_only_what_overflows_where_truth_does_not_makes_an_infinite_error():
    inf = np.inf
    with np.errstate(invalid="ignore"):
        (error,) = truths._errors({"x": np.array([inf, 1.5])}, {"x": np.array([inf, 1.0])}).values()
        assert error.tolist() == [0, 0.5]
        for run, expected in (
            ([inf, 1.0], [inf, 0]),
            ([2.0, np.nan], [0, inf]),
            ([2, 1.5], [0, 0.5]),
        ):
            errors = truths._errors({"x": np.array(run)}, {"x": np.array([2.0, 1.0])})
            assert errors["x"].tolist() == expected
    sizes, means = error_sizes([np.array([inf, 0]), np.array([0, 0.5])])
    assert sizes.tolist() == [inf, 0.5] and np.isinf(means.max())


def test_each_run_has_its_largest_error_and_its_root_mean_square():
    exact = np.zeros((2, 2))
    runs = [np.full((2, 2), 3e-200), np.array([[0, 6e-200], [0, 0]]), exact]
    sizes, means = error_sizes(runs)
    assert sizes.tolist() == [3e-200, 6e-200, 0]
    np.testing.assert_allclose(means, [3e-200, 3e-200, 0], rtol=1e-15)
    assert [s.tolist() for s in error_sizes([exact, exact])] == [[0, 0], [0, 0]]


def test_an_overflow_in_one_tensor_makes_the_noise_of_all_infinite():
    case = pinned(cell="RNN_RELU", T=1, layers=1, state=False, cotangents=("h_n",))
    problem = draw(case)
    large = problem._replace(
        x=problem.x * 1e38, params={n: p * 9 for n, p in problem.params.items()}
    )
    with np.errstate(over="ignore"):
        assert np.isfinite(evaluate(large, np.float32)["d_x"]).all()
    assert all(np.isinf(largest) for largest, _ in expect(large, "float32").noise.values())
    assert all(np.isfinite(largest) for largest, _ in expect(problem, "float32").noise.values())


def test_no_noise_is_below_what_may_be_flushed_to_0():
    case = pinned(cell="RNN_RELU", T=1, layers=1, state=False, bias=False, cotangents=("h_n",))
    problem = draw(case)
    small = problem._replace(
        x=problem.x * 1e-24, params={n: p * 1e-24 for n, p in problem.params.items()}
    )
    found = expect(small, "float32")
    normal = float(np.finfo("float32").tiny)
    assert 0 < np.abs(found.truth["h_n"]).max() < normal
    assert found.noise["h_n"] == (normal, normal)
    half = float(np.finfo("float16").smallest_subnormal) / 2
    scaled = problem._replace(params={n: p * 1e-6 for n, p in problem.params.items()})
    assert half <= expect(scaled, "float16").noise["h_n"][0] < 3 * half, "it is not flushed"


def test_no_mean_noise_is_below_that_of_one_element_off_by_a_roundoff_of_the_largest():
    case = pinned(cell="RNN_RELU", T=1, layers=1, state=False, regime="exact", cotangents=("h_n",))
    found = expect(draw(case), "float32", u=2.0**-60)  # nothing that is moved shows
    for name, exact in found.truth.items():
        largest, mean = found.noise[name]
        assert largest >= 2.0**-60 * np.abs(exact).max()
        assert mean >= largest / np.sqrt(exact.size) * (1 - 1e-12)


@pytest.mark.claim("X6")
def test_noise_grows_with_the_unit_roundoff():
    problem = draw(pinned())
    fine, coarse = expect(problem, "float32"), expect(problem, "float32", 2.0**-11)
    ratios = [coarse.noise[n][0] / fine.noise[n][0] for n in fine.noise]
    assert 2000 < np.median(ratios) < 30000  # 2^-11 is 2^13 = 8192 times 2^-24


def test_zeros_in_place_of_numbers_are_a_fault_not_an_ill_conditioned_tensor():
    expected = Expected({"x": np.array([1.0, 2.0])}, {"x": (1e-7, 1e-7)}, False)
    assert judge({"x": np.zeros(2)}, expected).word == "fault"


def test_what_is_exactly_zero_has_no_noise_and_anything_else_there_is_a_fault():
    problem, masks, expected = measured(pinned(dropout=1.0, cotangents=("output",)), "float32")
    assert not expected.truth["d_x"].any() and expected.noise["d_x"] == (0, 0)
    results = evaluate(problem, np.float32, masks)
    wrong = results["d_x"].copy()
    wrong[1, 2, 3] = 1e-30
    verdict = judge(results | {"d_x": wrong}, expected)
    assert (verdict.word, verdict.worst.tensor, verdict.worst.at) == ("fault", "d_x", (1, 2, 3))


def test_nan_is_no_fault_where_the_careful_evaluation_overflows_too():
    expected = Expected({"x": np.array([1.0, 2.0])}, {"x": (np.inf, np.inf)}, False)
    assert judge({"x": np.array([1.0, np.nan])}, expected).word == "untrusted"


def test_the_worst_element_is_noise_by_its_index():
    truth = np.array([[1.0, 2.0, 9.0], [4.0, 5.0, 6.0]])
    value = truth + 1e-9
    value[1, 0] += 1e-6
    assert score("x", value, truth, (1e-7, 1e-7)).at == (1, 0)
    value[0, 1] = np.nan
    assert score("x", value, truth, (1e-7, 1e-7)).at == (0, 1)


def test_the_noise_is_zero_where_no_operation_rounds_and_only_there():
    dyadic = pinned(cell="RNN_RELU", T=3, cotangents=("output", "h_n"), regime="exact")
    assert expect(draw(dyadic), "float32").exact
    assert not expect(draw(pinned()), "float32").exact
    assert not expect(draw(dyadic), "float32", 2.0**-11).exact  # TF32 may round


def test_the_noise_of_the_mean_is_below_that_of_the_largest_and_below_one_rounding_of_it():
    found = expect(draw(pinned()), "float32")
    assert all(mean < largest for largest, mean in found.noise.values())
    units = {n: 2.0**-24 * np.abs(found.truth[n]).max() for n in found.truth}
    assert any(mean < units[n] for n, (_, mean) in found.noise.items())


def test_truth_is_that_of_the_numbers_as_the_tested_type_stores_them():
    problem = draw(pinned())
    stored = problem._replace(
        x=problem.x.astype("float32").astype(float),
        params={n: p.astype("float32").astype(float) for n, p in problem.params.items()},
        state=tuple(s.astype("float32").astype(float) for s in problem.state),
    )
    truth = expect(problem, "float32").truth["output"]
    assert np.array_equal(truth, evaluate(stored, np.float64)["output"])
    assert not np.array_equal(truth, evaluate(problem, np.float64)["output"])


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu"])
def test_every_value_of_every_activation_is_moved_up_or_down_by_one_unit_roundoff(name):
    a = np.random.default_rng(0).uniform(0.5, 1, (40, 25))
    still, u = getattr(NUMPY, name)(a), 2.0**-24
    factors = random_factors(np.random.default_rng(1), u, np.dtype(np.float64))
    arithmetic = move_activations(NUMPY, factors)
    first, second = (getattr(arithmetic, name)(a) / still - 1 for _ in range(2))
    for moved in first, second:
        assert np.allclose(np.abs(moved), u, rtol=1e-6, atol=0)
        assert 0.4 < np.mean(moved > 0) < 0.6
    assert 0.4 < np.mean((first > 0) == (second > 0)) < 0.6


def test_moved_runs_stay_on_their_side_of_the_kink_and_bent_runs_take_both(monkeypatch):
    held, hold = [], truths.hold_relu

    def spy(exact, sides, least):
        held.append([side.copy() for side in sides])
        return hold(exact, sides, least)

    monkeypatch.setattr(truths, "hold_relu", spy)
    problem = draw(parse(KINK_AT_0))
    expect(problem, "float64", masks=dropout_masks(problem, "float64"))
    moved, bent = held[: truths.MOVED_RUNS], held[truths.MOVED_RUNS :]
    assert len(bent) == 2 + truths.RANDOM_BENDS
    true = [np.concatenate([side.ravel() for side in sides]) for sides in moved]
    assert all((sides == true[0]).all() for sides in true)
    none, every, *halves = (np.concatenate([side.ravel() for side in sides]) for sides in bent)
    undecided = every & ~none
    assert undecided.sum() >= 7 and (none <= true[0]).all() and (true[0] <= every).all()
    for half in halves:
        assert (half == true[0])[~undecided].all() and 0 < half[undecided].sum() < undecided.sum()


def test_every_array_that_goes_in_is_moved_in_every_run_otherwise(monkeypatch):
    problem, given = draw(pinned()), []
    evaluate_all = truths.evaluate_cast

    def spy(problem, cast, masks, arithmetic):
        given.append([cast(v) for v in (problem.x, *problem.params.values(), *problem.state)])
        return evaluate_all(problem, cast, masks, arithmetic)

    monkeypatch.setattr(truths, "evaluate_cast", spy)
    expect(problem, "float32")
    exact, _, *runs = given  # the truth twice, in the wide type and in float64, then moved runs
    signs = [[np.sign(m - e) for m, e in zip(run, exact, strict=True)] for run in runs]
    assert len(runs) == truths.MOVED_RUNS and all(np.all(s != 0) for run in signs for s in run)
    flat = [np.concatenate([s.ravel() for s in run]) for run in signs]
    assert all(0.3 < np.mean(a == b) < 0.7 for a, b in zip(flat, flat[1:], strict=False))


@pytest.mark.parametrize("path", ["cpu-native", "cpu-autocast-bfloat16"])
def test_an_overflow_in_bfloat16_is_nobodys_fault(path):
    """A relu net that grows to 10⁷⁶ in truth; bfloat16 ends where float32 does."""
    case = parse("RNN_RELU.T97.B2.I4.H3.L1.bi.time.strided.output+h_n.wide.s68")
    dtype = "float32" if "autocast" in path else "bfloat16"
    (result,) = examine(case, dtype, [torch_path(path)])
    assert result.verdict == "untrusted"


FLOORS = Floors(2.0**-24, 2.0**-126, 2.0**-126)


def test_an_element_that_is_small_beside_its_neighbours_has_its_own_noise():
    truth = np.array([1e6, 1.0, 1e-6])
    rng = np.random.default_rng(0)
    errors = [1e-7 * truth * rng.choice([-1, 1], 3) for _ in range(8)]
    noise = element_noise(deviation_of(errors, truth, FLOORS), 1.0)
    np.testing.assert_allclose(noise.sizes, 4e-7 * truth, rtol=1e-12)
    largest, mean = tensor_noise(errors, truth, FLOORS)
    assert largest == pytest.approx(0.1) and mean < largest


def test_a_small_slice_off_by_a_thousandth_is_detected_only_by_its_elements():
    """Of a GRU whose gradient vanishes on its way back, the first steps lie below the tensor's
    noise."""
    case = pinned(cell="GRU", T=60, layers=1, cotangents=("h_n",), seed=3)
    problem, masks, expected = measured(case, "float32")
    results = run(NATIVE, problem, "float32", masks).results
    wrong = results["d_x"].copy()
    wrong[0] *= 1.001
    by_tensor = judge(results | {"d_x": wrong}, expected._replace(elements={}))
    assert by_tensor.word == "agree"
    verdict = judge(results | {"d_x": wrong}, expected)
    assert (verdict.word, verdict.worst.tensor, verdict.worst.at[0]) == ("fault", "d_x", 0)


def test_runs_that_disagree_among_themselves_widen_the_noise_by_what_they_disagree():
    truth, small = np.ones(4), np.full(4, 1e-7)
    flip = small.copy()
    flip[2] = 0.5
    calm = deviation_of([small] * 7, truth, FLOORS)
    flipped = deviation_of([small] * 6 + [flip], truth, FLOORS)
    assert calm.ratio == 1 and flipped.ratio > 1e5
    assert deviation_of([small] * 6 + [flip], truth, FLOORS, bent=1).ratio == 1


def test_a_bent_run_that_is_off_by_one_sign_widens_the_spread_of_the_sum():
    truth, signs = np.ones(10_000), np.where(np.arange(10_000) % 2, 1, -1)
    runs = [1e-7 * sign * signs for sign in (1, -1, 1, -1, 1, -1)]
    assert deviation_of(runs, truth, FLOORS).spread == 1
    assert deviation_of([*runs, np.full(10_000, 1e-3)], truth, FLOORS, bent=1).spread > 50


@given(cases(regimes=("generic", "saturated", "cancelling", "wide", "tiny")), st.integers(0, 9))
def test_the_renumbered_reference_is_never_a_fault(case, seed):
    """Another order of hidden units and input features changes nothing but rounding."""
    problem = draw(case)
    if is_tied(problem):
        return
    for dtype in ("float32", "float64"):
        masks = dropout_masks(problem, dtype)
        rng = np.random.default_rng([case.seed, 77, seed])
        with np.errstate(all="ignore"):
            results = evaluate_renumbered(problem, dtype, masks, NUMPY, rng)
        (verdict, _) = judge_and_confirm(
            results,
            expect(problem, dtype, masks=masks),
            False,
            partial(expect, problem, dtype, None, masks, ""),
        )
        assert verdict.word != "fault", verdict.worst


@given(cases(), st.integers(0, 9))
def test_renumbering_changes_no_result_in_extended_precision(case, seed):
    problem = draw(case)
    masks = dropout_masks(problem, "float64")
    plain = evaluate(problem, np.longdouble, masks)
    if not is_tied(problem):
        rng = np.random.default_rng(seed)
        renumbered = evaluate_renumbered(problem, np.longdouble, masks, NUMPY, rng)
        noise = expect(problem, "float64", masks=masks).noise
        assert renumbered.keys() == plain.keys()
        for name, value in plain.items():
            assert np.abs(renumbered[name] - value).max(initial=0) <= noise[name][0], name


CHAOTIC = [
    "GRU.T200.B1.I16.H64.L1.time.h0.output+h_n.saturated.s5",
    "GRU.T200.B1.I16.H64.L1.time.h0.output+h_n.saturated.s10",
    "RNN_RELU.T50.B4.I16.H64.L1.time.h0.output+h_n.cancelling.s10",
    "LSTM.T100.B2.I8.H32.L1.time.h0.output+h_n.saturated.s10",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAOTIC)
def test_chaos_overflow_and_kinks_are_not_faults(name):
    """Each was a fault when the noise came from four runs without renumbering."""
    case = parse(name)
    problem = draw(case)
    results = examine(
        case, "float32", [torch_implementation(NATIVE), torch_implementation(PATHS["cpu-manual"])]
    )
    assert {r.verdict for r in results} <= {"agree", "untrusted"}
    expected, expect_with = (
        expect(problem, "float32"),
        partial(expect, problem, "float32", None, (), ""),
    )
    for seed in range(4):
        with np.errstate(all="ignore"):
            rng = np.random.default_rng([7, seed])
            renumbered = evaluate_renumbered(problem, "float32", [], NUMPY, rng)
        assert judge_and_confirm(renumbered, expected, False, expect_with)[0].word != "fault"


def test_what_is_not_a_plain_array_of_numbers_is_a_fault():
    """A masked array hides its wrong elements from every comparison."""
    truth = np.array([1.0, 2.0])
    wrong = np.ma.masked_array([1.0, 99.0], mask=[False, True])
    for value in (wrong, np.array([1, 2]), np.array(["1", "2"]), np.array([1.0, 2.0], complex)):
        assert np.inf == score("x", value, truth, (1e-9, 1e-9)).R


def test_elements_that_cannot_be_judged_are_counted():
    problem, masks, expected = measured(pinned(regime="saturated"), "float32")
    verdict = judge(run(NATIVE, problem, "float32", masks).results, expected)
    counts = {s.tensor: s.untrusted for s in verdict.scores}
    for name, elements in expected.elements.items():
        truth = np.abs(expected.truth[name])
        assert counts[name] == ((truth <= LIMIT * elements.sizes) & (truth > 0)).sum()
    assert sum(counts.values()) > 0


def with_offset(by):
    """Results of 40 cases, d_bias_ih_l0 off by so many noises, all of one sign."""
    results = []
    for seed in range(40):
        case = pinned(seed=seed)
        problem, masks, expected = measured(case, "float32")
        outcome = run(NATIVE, problem, "float32", masks).results
        name = "d_bias_ih_l0"
        moved = outcome[name] + by * expected.elements[name].sizes
        verdict = judge(outcome | {name: moved}, expected)
        offsets = {s.tensor: s.offset for s in verdict.scores if not s.ill}
        results.append(SimpleNamespace(path="p", dtype="d", verdict=verdict.word, offsets=offsets))
    return results


def test_an_error_of_one_sign_is_a_fault_and_of_random_sign_is_not():
    truth, s = np.ones(10_000), np.full(10_000, 1e-7)
    elements = {"x": ElementNoise(4 * s, s, 4.0)}
    expected = Expected({"x": truth}, {"x": (1e-6, 1e-6)}, False, "", elements)
    signs = np.where(np.arange(10_000) % 2, 1, -1)
    assert judge({"x": truth + signs * s}, expected).word == "agree"
    shifted = judge({"x": truth + s}, expected)
    assert shifted.word == "fault" and 24 < shifted.worst.R < 26  # √10,000 / 4


def test_an_offset_of_one_noise_in_one_tensor_is_systematic_over_the_cases():
    results = with_offset(1.0)
    assert {r.verdict for r in results} == {"agree"}, "no single case shows it"
    worst, *others = collect_offsets(results)
    assert worst.tensor == "d_bias_ih_l0" and worst.is_systematic
    assert not any(offset.is_systematic for offset in others)


def test_correct_results_have_no_systematic_offset():
    assert max(offset.D for offset in collect_offsets(with_offset(0.0))) < LIMIT / 2


DECIDED_BY_ROUNDING = [
    # net inputs of relu that are exactly 0 in the reference and 10⁻¹⁶ in torch
    (KINK_AT_0, "cpu-native", "float64"),
    # oneDNN's σ is 0 below √2 · 2⁻¹²⁶
    (
        "LSTM.T2.B12.I32.H48.L2.tied.batch.h0.strided.output+h_n.saturated.s11001098",
        "cpu-onednn",
        "float32",
    ),
    (
        "LSTM.T7.B1.I2.H5.L3.bi.unbatched.h0.strided.output.wide.s11005848",
        "cpu-onednn",
        "float32",
    ),
    # such a gate multiplied by a large cotangent: truth 3.6 · 10⁻³⁸
    ("LSTM.T1.B1.I8.H64.L1.batch.h0.output+h_n.saturated.s336", "cpu-onednn", "float32"),
]


@pytest.mark.parametrize(("name", "path", "dtype"), DECIDED_BY_ROUNDING)
def test_what_rounding_decides_is_no_fault(name, path, dtype):
    """Each was a fault, with an R of 400 to 100,000."""
    (result,) = examine(parse(name), dtype, [torch_path(path)])
    assert result.verdict == "agree" and result.R < 5


def test_a_gate_that_a_kernel_shuts_is_no_fault_however_large_the_cotangents(monkeypatch):
    problem = draw(parse("LSTM.T1.B1.I8.H64.L1.batch.h0.output+h_n.saturated.s336"))
    d_state = tuple(None if d is None else 1e3 * d for d in problem.d_state)
    large = problem._replace(d_output=1e3 * problem.d_output, d_state=d_state)
    results = run(PATHS["cpu-onednn"], large, "float32").results
    expected = expect(large, "float32")
    shut = (results["d_weight_hh_l0"] == 0) & (np.abs(expected.truth["d_weight_hh_l0"]) > 1e-35)
    assert shut.any()
    assert judge(results, expected).word == "agree"
    monkeypatch.setattr(truths, "SHUT", 0)
    assert judge(results, expect(large, "float32")).word == "fault", "only that run shows it"


@pytest.mark.parametrize(
    "name",
    [
        "LSTM.T20.B1.I4.H8.L1.time.h0.h_n.saturated.s91",  # one element flushed
        "GRU.T30.B1.I2.H2.L1.time.h0.h_n.saturated.s40",  # all elements of a tensor
        "GRU.T30.B1.I2.H2.L1.time.h0.h_n.saturated.s95",  # products flushed, then multiplied
    ],
)
def test_numbers_flushed_to_0_where_they_are_not_normal_are_no_fault(name):
    problem, masks, expected = measured(parse(name), "float32")
    exact = run(NATIVE, problem, "float32", masks).results
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor flushes nothing")
    try:
        flushed = run(NATIVE, problem, "float32", masks).results
    finally:
        torch.set_flush_denormal(False)
    assert any(not np.array_equal(flushed[n], exact[n]) for n in exact)
    assert judge(flushed, expected).word == "agree"


def test_effects_that_cancel_if_all_change_sides_show_in_the_runs_that_bend_some():
    """Two units whose net inputs are 0 but for rounding, with opposite cotangents."""
    sides, near = [np.array([[True, False, True, True]])], [np.array([[True, True, True, False]])]
    none, every, *halves = truths._bent_sides(sides, near, np.random.default_rng(0), 8)
    assert none[0].tolist() == [[False, False, False, True]]
    assert every[0].tolist() == [[True, True, True, True]]
    assert len(halves) == 8 * truths.RANDOM_BENDS
    assert any(half[0][0, 0] != half[0][0, 1] for half in halves)
    assert any(half[0][0, 0] == half[0][0, 1] for half in halves)
    undecided = [np.zeros((1, 4), bool)]
    assert list(truths._bent_sides(sides, undecided, np.random.default_rng(0), 8)) == []


def test_a_net_input_that_is_0_without_rounding_passes_in_no_run():
    problem = draw(pinned(cell="RNN_RELU", layers=1, bidirectional=False, bias=False))
    params = {name: p.copy() for name, p in problem.params.items()}
    for p in params.values():
        p[0] = 0
    found = expect(problem._replace(params=params), "float32")
    assert found.elements["d_weight_ih_l0"].sizes[0].max() < 1e-30
    assert found.elements["d_weight_ih_l0"].sizes[1:].max() > 1e-9
