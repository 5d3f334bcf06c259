"""Cases fitted to an implementation, growing from the plainest, and shrunk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptt_oracle.cases.case import Case, contradiction
from bptt_oracle.cases.corpus import corpus
from bptt_oracle.implementations.fitting import fit, fit_all, with_abilities_of_module
from bptt_oracle.implementations.growing import growing_cases
from bptt_oracle.runs.shrink import TRIALS, shrink, simplifications
from support import written_implementations as written
from support.drawn_cases import cases

LIMITED = written.numpy_lstm._replace(
    cells=("LSTM", "GRU"), lengths=False, bidirectional=False, layers=False, no_biases=False
)


def test_the_first_cases_are_plain_and_every_cell_comes_early():
    cases = growing_cases(written.everything, 200)
    assert len(cases) == len(set(cases)) == 200
    assert cases[0] == Case("RNN_TANH", 1, 2, 3, 4, cotangents=("output",))
    assert {case.cell for case in cases[:4]} == {"RNN_TANH", "RNN_RELU", "GRU", "LSTM"}
    first = [case for case in cases if case.cell == "LSTM"][:12]
    assert {case.T for case in first} == {1, 2, 3} and {case.layers for case in first} == {1}
    assert ("c_n",) in {case.cotangents for case in first}
    assert {case.regime for case in cases[:80]} >= {"wide", "tiny", "saturated", "cancelling"}
    assert any(case.bidirectional and case.lengths and case.layers > 1 for case in cases)


def test_cases_are_those_that_the_implementation_can_compute():
    cases = growing_cases(LIMITED, 120)
    assert len(cases) == 120 and {case.cell for case in cases} == {"LSTM", "GRU"}
    for case in cases:
        assert not (case.lengths or case.bidirectional or case.P or case.dropout or case.strided)
        assert case.layers == 1 and case.bias and case.layout == "time"


def test_more_cases_begin_with_fewer_and_a_seed_changes_the_numbers():
    cases = growing_cases(LIMITED, 90)
    assert cases[:40] == growing_cases(LIMITED, 40)
    assert cases[0]._replace(seed=3) == growing_cases(LIMITED, 1, seed=3)[0]


@given(case=cases())
def test_a_fitted_case_is_possible_and_fits(case):
    for implementation in (LIMITED, written.everything, written.plain_module, written.torch_nets):
        fitted = fit(implementation, case)
        assert fitted is None or (
            not contradiction(fitted) and fit(implementation, fitted) == fitted
        )


def test_what_the_constructor_has_no_option_for_is_not_asked():
    able = with_abilities_of_module(written.plain_module)
    assert (able.layers, able.bidirectional, able.projection) == (False, False, False)
    assert able.no_biases
    fitted = fit_all(able, corpus(100))
    assert fitted and all(c.layers == 1 and not c.bidirectional and not c.P for c in fitted)
    assert {c.layout for c in fitted} >= {"time", "batch", "unbatched", "packed"}


def test_a_run_gets_tied_parameters_only_if_it_adds_their_gradients():
    case = Case("LSTM", 3, 2, 4, 4, tied=True)
    assert not fit(written.run_lstm, case).tied
    assert fit(written.run_lstm._replace(tied=True), case) == case
    assert fit(written.numpy_lstm, case) == case


def test_a_case_without_a_gradient_of_what_is_not_returned():
    no_states = written.run_lstm._replace(not_returned=("h_n", "c_n"))
    case = Case("LSTM", 3, 2, 4, 5, cotangents=("output", "h_n"))
    assert fit(no_states, case).cotangents == ("output",)
    assert fit(no_states, case._replace(cotangents=("c_n",))).cotangents == ("output",)


LARGE = Case(
    "LSTM",
    7,
    3,
    4,
    5,
    layers=3,
    bidirectional=True,
    P=2,
    layout="packed",
    lengths=(2, 7, 4),
    cotangents=("output", "h_n", "c_n"),
    regime="wide",
)


@pytest.mark.parametrize(
    "needs, smallest",
    [
        (lambda c: True, "LSTM.T1.B1.I1.H1.L1.nobias.time.output.generic.s0"),
        (lambda c: c.T >= 3 and c.lengths, "LSTM.T3.B1.I1.H1.L1.nobias.packed-3.output.generic.s0"),
        (lambda c: c.layers == 2, "LSTM.T1.B1.I1.H1.L2.nobias.time.output.generic.s0"),
        (
            lambda c: "c_n" in c.cotangents and c.state,
            "LSTM.T1.B1.I1.H1.L1.nobias.time.h0.c_n.generic.s0",
        ),
        (lambda c: c.regime == "wide" and c.P, "LSTM.T1.B1.I1.H2.L1.nobias.P1.time.output.wide.s0"),
    ],
)
def test_a_failing_case_shrinks_to_what_it_needs(needs, smallest):
    needed = shrink(LARGE, lambda case: bool(needs(case)))
    if "P1" in smallest:  # P is not made smaller, only removed
        assert (needed.H, needed.P) == (3, 2)
    else:
        assert needed.id == smallest


def test_shrinking_ends():
    calls = []
    assert shrink(LARGE, lambda case: bool(calls.append(case))) == LARGE
    assert 0 < len(calls) <= TRIALS


@given(case=cases(), which=st.integers(0, 20))
def test_a_simpler_case_is_possible(case, which):
    for simpler in list(simplifications(case))[which : which + 3]:
        assert not contradiction(simpler) and simpler != case
