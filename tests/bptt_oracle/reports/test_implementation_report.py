"""The exit status and the verdict of a run of an implementation."""

import pytest

from bptt_oracle.implementations.implementation import Implementation
from bptt_oracle.reports.implementation_report import Counts, status_of, verdict_on
from bptt_oracle.runs.control import Control
from bptt_oracle.runs.results import Result
from bptt_oracle.runs.study import Study

COUNTS = Counts(20, 20, False, 100, 0, 0, "")
MISSED = Study(Control(30, 29, ("one_element_off in GRU.T1 --dtype float32",)))
SHARP = Study(Control(30, 30, ()))


def result(word):
    R = {"agree": 1.0, "fault": 99.0}[word]
    return Result("GRU.T1", "mine", "float32", "GRU", word, R, "output", "", "", 0, "", {})


@pytest.mark.parametrize(
    "study, words, status, sentence",
    [
        (SHARP, ["agree", "agree"], 0, "mine agrees with the derivations: 2 results"),
        (SHARP, ["agree", "fault"], 1, "mine does not agree with the derivations: 1 fault in 2"),
        (MISSED, ["agree", "fault"], 1, "mine does not agree with the derivations: 1 fault in 2"),
        (MISSED, ["agree", "agree"], 2, "the control did not detect one_element_off in GRU.T1"),
    ],
)
def test_a_fault_counts_also_if_the_control_failed(study, words, status, sentence):
    results = [result(word) for word in words]
    assert status_of(results, COUNTS, study, [], []) == status
    implementation = Implementation("mine", version=lambda: "")
    assert sentence in verdict_on(implementation, results, COUNTS, study, [], [])
