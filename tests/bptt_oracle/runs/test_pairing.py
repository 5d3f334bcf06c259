"""Results of two names are paired: by hand, or because each run has only one."""

import numpy as np
import pytest

from bptt_oracle.runs.compare import compare
from bptt_oracle.runs.kept import relative_differences
from bptt_oracle.runs.pairing import paired, pairs_of
from bptt_oracle.runs.row import BadRun
from bptt_oracle.runs.run import read_rows
from support.runs import made_up, row


def run_of(*names, kept=None, **changes):
    """A run with one result of each name."""
    rows = [row(**changes)._replace(path=name) for name in names]
    return made_up(*rows, kept=kept, paths=list(names))


def test_the_only_names_of_two_runs_are_a_pair():
    old, new = run_of("my:v1"), run_of("my:v2", R=0.7, bits="other")
    with pytest.raises(BadRun, match="the runs have no result in common"):
        compare(old, new)
    pairs = pairs_of(old, new)
    assert pairs == {"my:v1": "my:v2"}
    with paired(old, new, pairs) as (before, after):
        assert compare(before, after).counts == {("my:v2", "float32"): {"moved": 1}}
    assert not before.database.exists() and not after.database.exists()
    assert [r.path for r in read_rows(old)] == ["my:v1"], "the run itself is as it was"


def test_equal_names_and_several_names_are_no_pairs():
    assert pairs_of(run_of("a"), run_of("a")) == {}
    assert pairs_of(run_of("a", "b"), run_of("c")) == {}
    with paired(run := run_of("a"), run, {}) as same:
        assert same == (run, run)


def test_pairs_that_are_given_leave_all_other_names_out_and_may_exchange_two():
    old = run_of("a", "b", "c")
    new = made_up(
        row(bits="one")._replace(path="a"), row()._replace(path="b"), paths=["a", "b", "d"]
    )
    pairs = pairs_of(old, new, ["a=b", "b=a"])
    with paired(old, new, pairs) as runs:
        found = compare(*runs).counts
    assert found == {("b", "float32"): {"equal": 1}, ("a", "float32"): {"moved": 1}}
    with paired(old, old, pairs_of(old, old, ["a=c"])) as runs:  # two names of one run
        assert compare(*runs).counts == {("c", "float32"): {"equal": 1}}


def test_a_pair_needs_results_and_not_only_a_place_in_the_plan():
    """A path may be excluded from every case, as cpu-plain is from small ones."""
    planned = ["cpu-native", "cpu-cells", "cpu-plain"]
    run = made_up(row(), row()._replace(path="cpu-cells"), paths=planned)
    words = "has no results of '{}'; it has cpu-native, cpu-cells$"
    for given, name in (
        ("cpu-native=nope", "nope"),
        ("cpu-plain=cpu-plain", "cpu-plain"),
        ("cpu-plain=cpu-native", "cpu-plain"),
        ("cpu-native=cpu-plain", "cpu-plain"),
    ):
        with pytest.raises(BadRun, match=words.format(name)):
            pairs_of(run, run, [given])


def test_a_pair_that_computed_no_case_in_common_is_not_blamed_on_the_plan():
    run = made_up(row(1), row(2)._replace(path="cpu-cells"))
    with (
        paired(run, run, pairs_of(run, run, ["cpu-native=cpu-cells"])) as runs,
        pytest.raises(BadRun, match="; compare paths or implementations that compute the same"),
    ):
        compare(*runs)


def test_kept_values_are_compared_under_the_new_name():
    x = np.array([4.0, -8.0])
    old, new = run_of("a", kept={"output": x}), run_of("b", kept={"output": x + 2})
    with paired(old, new, {"a": "b"}) as runs:
        ((name, size),) = relative_differences(*runs)
    assert " b float32 output" in name and size == 0.25


@pytest.mark.parametrize(
    "given, words",
    [
        (["a"], "'a' is not a pair of names; expected OLD=NEW"),
        (["a="], "'a=' is not a pair of names"),
        (["x=c"], "has no results of 'x'; it has a, b"),
        (["a=x"], "has no results of 'x'; it has c, d"),
        (["a=c", "b=c"], "'b=c' has a name that another pair has"),
        (["a=c", "a=d"], "'a=d' has a name that another pair has"),
    ],
)
def test_names_that_cannot_be_paired_are_rejected(given, words):
    with pytest.raises(BadRun, match=words):
        pairs_of(run_of("a", "b"), run_of("c", "d"), given)
