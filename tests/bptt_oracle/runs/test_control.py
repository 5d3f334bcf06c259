"""The answers in which a control plants mistakes."""

from bptt_oracle.runs.control import ANSWERS, choose_answers
from bptt_oracle.runs.results import Result

GENERIC = "LSTM.T2.B2.I3.H4.L1.time.h0.output.generic.s{}"
SATURATED = "LSTM.T2.B2.I3.H4.L1.time.h0.output.saturated.s{}"


def agreeing(form, seeds):
    return [
        Result(form.format(s), "x", "float64", "LSTM", "agree", 1.0, "", "", "", 0.0, "", {})
        for s in seeds
    ]


def test_generic_numbers_come_before_numbers_in_which_a_mistake_may_vanish():
    generic, saturated = agreeing(GENERIC, range(3)), agreeing(SATURATED, range(20))
    assert choose_answers([*generic, *saturated]) == generic[::-1]


def test_without_generic_numbers_the_others_are_taken():
    saturated = agreeing(SATURATED, range(3))
    assert choose_answers(saturated) == saturated[::-1]


def test_they_are_spread_over_the_run_and_start_with_the_last():
    results = agreeing(GENERIC, range(60))
    chosen = [int(r.case.rpartition("s")[2]) for r in choose_answers(results)]
    assert chosen == [59, 49, 39, 29, 19, 9]
    assert len(choose_answers(results)) == ANSWERS and not choose_answers([])
