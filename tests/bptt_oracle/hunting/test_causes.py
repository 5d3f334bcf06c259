"""Fields, making programs smaller, and causes, on a made-up subject."""

import numpy as np
import pytest

from bptt_oracle.hunting.causes import cause_of, fails_alike, shrink, widened
from bptt_oracle.hunting.programs.fields import Choice, Size, draw_program, matches
from bptt_oracle.hunting.programs.subject import Outcome, Subject

FIELDS = {
    "form": Choice(("loop", "foreach", "fused")),
    "dtype": Choice(("float32", "float64", "bfloat16", "float16")),
    "size": Size(1, 50),
    "other": Choice((False, True)),
}


def subject_that_fails(when, tidy=lambda program: program):
    def attempt(program):
        return Outcome("silent wrong value", "x", 99.0) if when(program) else Outcome()

    return Subject("made up", FIELDS, tidy, attempt, lambda program, outcome: "")


def found(subject, program, is_known=lambda program: False):
    outcome = subject.attempt(program)
    assert outcome.symptom
    smallest, worst = shrink(subject, program, outcome, subject.attempt, is_known)
    return smallest, cause_of(subject, smallest, worst, subject.attempt)


LARGE = {"form": "fused", "dtype": "float16", "size": 40, "other": True, "seed": 0}


def test_a_cause_has_all_values_that_fail_and_the_least_size():
    half = ("bfloat16", "float16")
    subject = subject_that_fails(lambda p: p["dtype"] in half and p["size"] >= 8)
    smallest, cause = found(subject, LARGE)
    assert smallest == LARGE | {"form": "loop", "dtype": "bfloat16", "size": 8, "other": False}
    assert cause == {"dtype": ["bfloat16", "float16"], "size": 8}


def test_a_cause_explains_its_programs_and_no_others():
    cause = {"dtype": ["bfloat16", "float16"], "size": 8}
    assert matches(cause, LARGE)
    assert not matches(cause, LARGE | {"size": 7})
    assert not matches(cause, LARGE | {"dtype": "float64"})


def test_what_always_fails_has_no_conditions():
    assert found(subject_that_fails(lambda p: True), LARGE)[1] == {}


def test_a_smaller_program_with_a_known_cause_is_avoided():
    """Two mistakes: that of large sizes is known, and must not hide that of fused."""
    subject = subject_that_fails(lambda p: p["size"] > 20 or p["form"] == "fused")
    smallest, cause = found(subject, LARGE, is_known=lambda p: p["size"] > 20)
    assert (smallest["size"], cause) == (1, {"form": ["fused"]})


def test_another_symptom_is_another_failure():
    def attempt(program):
        symptom = "crash" if program["size"] < 9 else "silent wrong value"
        return Outcome(symptom, "x")

    subject = subject_that_fails(lambda p: True)._replace(attempt=attempt)
    assert found(subject, LARGE)[1] == {"size": 9}


def test_the_number_of_a_tensor_makes_no_other_failure():
    first, second = Outcome("silent wrong value", "g0"), Outcome("silent wrong value", "g1")
    assert fails_alike(first, second)
    assert not fails_alike(first, Outcome("silent wrong value", "norm"))


def test_programs_that_make_no_sense_are_passed_over():
    tidy = lambda p: None if p["size"] == 10 else p  # noqa: E731
    subject = subject_that_fails(lambda p: p["size"] >= 10, tidy)
    assert found(subject, LARGE)[1] == {"size": 11}


def test_two_cases_of_a_cause_become_one():
    old = {"form": ["fused"], "gradient": ["columns", "expanded"], "rows": 2, "columns": 9}
    new = {"form": ["fused"], "gradient": ["transposed", "columns"], "rows": 3}
    merged = {"form": ["fused"], "gradient": ["columns", "expanded", "transposed"], "rows": 2}
    assert widened(old, new) == merged


@pytest.mark.parametrize("new", [{"form": ["loop"]}, {}, {"form": ["fused"], "dtype": ["half"]}])
def test_other_conditions_are_another_cause(new):
    assert widened({"form": ["fused"]}, new) is None


@pytest.mark.parametrize("name", FIELDS)
def test_every_value_of_a_field_is_drawn(name):
    drawn = [draw_program(FIELDS, np.random.default_rng(k))[name] for k in range(2000)]
    field = FIELDS[name]
    wanted = set(field.values) if isinstance(field, Choice) else set(range(1, 51))
    assert set(drawn) == wanted


def test_a_trial_is_always_the_same_program():
    programs = [draw_program(FIELDS, np.random.default_rng([3, 7])) for _ in range(2)]
    assert programs[0] == programs[1]
    assert programs[0] != draw_program(FIELDS, np.random.default_rng([3, 8]))
