"""Compare two runs: the word of each change, equal numbers in every report, the exit status."""

import json
import re
import shutil
from collections import Counter
from xml.etree import ElementTree

import numpy as np
import pytest

from bptt_oracle.__main__ import main
from bptt_oracle.reports.compare_tables import markdown, print_table, summary
from bptt_oracle.reports.junit import junit
from bptt_oracle.runs import pairs
from bptt_oracle.runs.compare import WORDS, change, changes, compare, environment_changes
from bptt_oracle.runs.kept import relative_differences
from bptt_oracle.runs.row import BadRun
from bptt_oracle.runs.schema import PART
from support.runs import EXPECTED, HOSTILE, ONE_OF_EACH, made_up, row, write_both


@pytest.mark.parametrize(
    "old, new, word, tensor",
    [
        (row(), row(), "equal", "output"),
        (row(R=0.5), row(R=0.6, bits="other"), "moved", "output"),
        (row(R=0.5), row(R=2.1, bits="other"), "drift", "output"),
        (row(R=0.3), row(R=1.9, bits="other"), "moved", "output"),  # below DRIFT_FLOOR
        (row(R=0.6), row(R=2.3, bits="other"), "moved", "output"),  # less than four times
        (row(R=3.0, R_h_n=0.1), row(R=3.0, R_h_n=2.5), "drift", "h_n"),  # not the largest R
        (row(R=0.1, R_h_n=0.1), row(R=2.5, R_h_n=9.0), "drift", "h_n"),  # both, and this one more
        (row(R=0.0), row(R=2.1, bits="other"), "drift", "output"),
        (row(R_h_n=None), row(R_h_n=9.0), "equal", "output"),  # the old one could not tell
        (row(), row(R=17, bits="other", verdict="fault"), "fault", "output"),
        (row(R=17, verdict="fault"), row(R=17, verdict="fault"), "fault", "output"),
        (row(R=17, verdict="fault"), row(bits="other"), "fixed", "output"),
        (row(verdict="fault", R=np.inf, note="RuntimeError"), row(), "fixed", "output"),
        (row(), row(verdict="fault", R=np.inf, note="RuntimeError"), "fault", "output"),
        (row(verdict="untrusted"), row(verdict="untrusted"), "equal", "output"),
        (row(), row(bits="other", verdict="untrusted"), "untrusted", "output"),
        (row(), row(kernel="MkldnnRnnLayerBackward0"), "kernel", "output"),
        (row(), row(bits="other", kernel="MkldnnRnnLayerBackward0"), "kernel", "output"),
        (row(), row(R=9, bits="other", kernel="MkldnnRnnLayerBackward0"), "drift", "output"),
        (row(masks="a"), row(R=9, bits="other", masks="b"), "masks", "output"),
        (row(masks="a"), row(R=17, verdict="fault", masks="b"), "fault", "output"),
        (row(masks="a"), row(masks="a"), "equal", "output"),
        (row(), None, "removed", "output"),
        (None, row(), "new", "output"),
        (None, row(R=17, verdict="fault"), "fault", "output"),
        (row(R=0.5), row(R=9, bits="other", verdict="untrusted"), "untrusted", "output"),
        (row(R=17, verdict="fault")._replace(tensor="h_n"), row(bits="other"), "fixed", "h_n"),
        (row(), row(R=17, bits="other", verdict="known deviation"), "known", "output"),
        (row(verdict="fault", R=17), row(R=17, verdict="known deviation"), "known", "output"),
        (row(R=17, verdict="known deviation"), row(bits="other"), "fixed", "output"),
        (row(R=17, verdict="known deviation"), row(R=17, verdict="fault"), "fault", "output"),
    ],
)
def test_each_change_has_its_word(old, new, word, tensor):
    found = change(old, new)
    assert (found.word, found.tensor) == (word, tensor)
    if old and new:  # also where the pair is not read as rows
        runs = made_up(old), made_up(new)
        assert compare(*runs).total == {word: 1} and list(changes(*runs)) == [found]
    if "kernel" in word:
        assert found.kernel == "native → MkldnnRnnLayerBackward0"
    verdicts = {one.verdict for one in (old, new) if one}
    if old and new and "fault" in verdicts and "known deviation" not in verdicts:
        assert ("too" in found.note) == (old.verdict == new.verdict)


def test_the_factor_of_drift_is_an_argument():
    pair = row(R=1.0), row(R=3.0, bits="other")
    assert [change(*pair, factor).word for factor in (2, 2.9, 3, 4)] == [
        "drift",
        "drift",
        "moved",
        "moved",
    ]


def test_a_run_equals_itself_and_exchanging_two_runs_exchanges_new_and_removed():
    old, new = ONE_OF_EACH
    for one, other, expected in ((old, old, {"equal": 8, "fault": 1}), (old, new, EXPECTED)):
        assert compare(one, other).total == expected
        assert Counter(c.word for c in changes(one, other)) == expected
    exchanged = compare(new, old).total
    words = ("removed", "new", "fault", "fixed")
    assert [exchanged[word] for word in words] == [1, 1, 1, 1]


def test_closer_counts_only_tensors_whose_bits_moved():
    old, new = ONE_OF_EACH
    near = compare(old, new).closeness  # of case 4 the old one, of 6 and 7 the new one
    assert near[:3] == (3, 1, 2) and (near.median_old, near.median_new) == (0.5, 0.5)
    redrawn = made_up(row(4, R=9, bits="c", masks="b"))
    assert compare(made_up(row(4, masks="a")), redrawn).closeness.moved == 0
    as_near = compare(made_up(row()), made_up(row(bits="other"))).closeness
    assert as_near[:3] == (1, 0, 0)
    same = compare(old, old)
    assert same.closeness.moved == 0 and "closer" not in summary(same)


def test_differences_of_values_are_relative_to_the_largest_value():
    name, x = " ".join([*row().key, "output"]), np.array([4.0, -8.0, 1.0], np.float32)

    def differences(before, after):
        runs = made_up(row(), kept=before), made_up(row(), kept=after)
        return dict(relative_differences(*runs))

    assert differences({"output": x}, {"output": x + np.float32(2)}) == {name: 0.25}
    assert differences({"output": x}, {"output": x.astype(float) + 2}) == {name: 0.25}
    assert differences({"output": x}, {"output": x}) == {name: 0}
    assert differences({"output": x}, {}) == differences({"output": x}, {"output": x[:2]}) == {}
    long = np.linspace(-1, 2, 3 * PART + 5)
    changed = long.copy()
    changed[2 * PART + 1] += 0.5  # in another part than the largest
    assert differences({"output": long}, {"output": changed}) == {name: 0.25}


def test_every_report_has_the_same_numbers(tmp_path, capsys):
    old, new = write_both(tmp_path)
    code, out = bptt_oracle(
        capsys, "compare", old, new, "--json", tmp_path / "c.json", "--junit", tmp_path / "c.xml"
    )
    written = json.loads((tmp_path / "c.json").read_text())
    assert written["counts"] == {word: EXPECTED[word] for word in WORDS}
    assert len(written["changes"]) == EXPECTED.total() - EXPECTED["equal"]
    assert written["verdict"] in out.splitlines() and written["plan"]["old"]["seed"] == 3
    suite = ElementTree.parse(tmp_path / "c.xml").getroot()
    assert suite.attrib | {"tests": "10", "failures": "1", "skipped": "2"} == suite.attrib
    assert len(suite.findall("testcase")) == 10 and len(suite.findall(".//failure")) == 1
    assert HOSTILE in suite.find(".//failure").attrib["message"]
    (line,) = [line for line in out.splitlines() if line.startswith("10 results")]
    for word, meaning in WORDS.items():
        assert (f"{EXPECTED[word]} {meaning}" in line) == bool(EXPECTED[word])
    assert HOSTILE in out and "2.4.1" in out
    assert code == 1


def test_markdown_is_a_table_that_no_message_breaks(tmp_path, capsys):
    old, new = write_both(tmp_path)
    code, out = bptt_oracle(capsys, "compare", old, new, "--markdown")
    assert code == 1 and out.startswith("### torch 2.4.1 → 2.13.0\n")
    tables = [block for block in out.split("\n\n") if block.startswith("|")]
    assert len(tables) == 2
    for block in tables:
        assert len({line.count("|") for line in block.splitlines()}) == 1
    compared = compare(*ONE_OF_EACH)
    assert f"| all |  | {compared.total.total()} |" in out
    assert markdown(*ONE_OF_EACH, compared, [], 1) == out
    assert "**failed** – 10 results: " in out
    assert out.endswith(
        "[What the words mean](https://github.com/bptt-oracle/bptt-oracle/blob/main/docs/glossary.md)\n"
    )


@pytest.mark.parametrize(
    "hostile",
    [
        "![x](http://a.b/c.png)",
        "[x](javascript:0)",
        "@user",
        "#1",
        "<img src=x>",
        "www.a.b",
        "a | b",
    ]
    + ["a | b", "`x` @user", "``", "https://a.b", "a@b.c", "__x__", "*x*", "~x~", "&lt;", "x\\"],
)
def test_markdown_shows_a_hostile_text_as_code(hostile):
    old = made_up(row(0, kernel="k"), torch=hostile)
    new = made_up(row(0, kernel=hostile), row(1, R=20, verdict="fault", note=hostile), torch="2")
    page = markdown(old, new, compare(old, new), [(hostile, 1.0)], 0)
    fence = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
    outside = fence.sub("", page)
    shown = hostile.replace("|", "¦")
    assert hostile not in outside and shown not in outside
    assert sum(hostile in code or shown in code for _, code in fence.findall(page)) == 5


@pytest.mark.parametrize(
    "new, options, code",
    [
        (row(), [], 0),
        (row(R=3, bits="b"), [], 0),
        (row(R=3, bits="b"), ["--fail-on", "drift"], 1),
        (row(R=3, bits="b"), ["--fail-on", "drift", "--factor", "8"], 0),
        (row(R=1, bits="b"), ["--fail-on", "drift"], 0),
        (row(R=20, bits="b", verdict="fault"), [], 1),
        (row(R=20, bits="b", verdict="fault"), ["--fail-on", "drift"], 1),
        (row(bits="b", verdict="untrusted"), [], 0),
    ],
)
def test_the_exit_status_is_1_for_faults_and_for_drift_when_asked(
    tmp_path, capsys, new, options, code
):
    paths = write_both(tmp_path, (made_up(row(R=0.5)), made_up(new)))
    assert bptt_oracle(capsys, "compare", *paths, *options)[0] == code


@pytest.mark.parametrize(
    "options, code",
    [([], 0), (["drift"], 0), (["removed"], 1), (["drift", "removed"], 1), (["fault"], 0)],
)
def test_a_run_that_lost_results_fails_when_asked_and_always_says_so(
    tmp_path, capsys, options, code
):
    paths = write_both(tmp_path, (made_up(row(1), row(2)), made_up(row(1))))
    options = [word for name in options for word in ("--fail-on", name)]
    assert bptt_oracle(capsys, "compare", *paths, *options, "-q") == (
        code,
        "2 results: 1 removed, 1 bitwise equal.\n",
    )


def test_junit_fails_where_the_comparison_fails():
    compared = compare(*ONE_OF_EACH)
    for fail_on, failures in (((), "1"), (["drift"], "2"), (["drift", "removed"], "3")):
        text = "".join(junit(compared, changes(*ONE_OF_EACH), fail_on))
        suite = ElementTree.fromstring(text.encode())
        assert suite.attrib["failures"] == failures
        assert len(suite.findall(".//failure")) == int(failures)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["none", "new"], "is not a file"),
        (["empty", "empty"], "neither run holds a result"),
        (["old", "new", "--json", "old"], "would be written over"),
        (["old", "new", "--json", "x", "--junit", "./x"], "would be written over"),
        (["old", "new", "--json", "."], "cannot be written"),
        (["old", "new", "--html", "/no/such/folder/page.html"], "cannot be written"),
    ],
)
def test_what_cannot_be_compared_is_rejected(tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    write_both(tmp_path)
    shutil.copy(made_up().file, "empty")
    with pytest.raises(SystemExit) as stop:
        main(["compare", *arguments])
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "") and words in err and err.count("\n") == 1
    assert {file.name for file in tmp_path.iterdir()} == {"empty", "new", "old"}


@pytest.mark.parametrize(
    "old, new, words",
    [
        (made_up(row(1)), made_up(row(2), seed=4), "(seed 3 and 4); record both"),
        (
            made_up(row()),
            made_up(row()._replace(dtype="float64"), dtypes=["float64"], cases=9),
            "(cases 6 and 9; dtypes float32 and float64)",
        ),
        (
            made_up(row(), paths=["cpu-native"]),
            made_up(row()._replace(path="cpu-cells")),
            "(paths cpu-native and cpu-native, cpu-cells)",
        ),
        (made_up(row(1)), made_up(row(2)), "(although their plans are the same)"),
        (made_up(row()), made_up(), "(although their plans are the same)"),
        (made_up(), made_up(row(R=17, verdict="fault")), "(although their plans are the same)"),
    ],
)
def test_runs_without_a_result_in_common_are_rejected_whatever_else_they_hold(
    tmp_path, capsys, old, new, words
):
    paths = write_both(tmp_path, (old, new))
    page = tmp_path / "page.html"
    with pytest.raises(SystemExit) as stop:
        main(["compare", *map(str, paths), "--html", str(page)])
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "") and err.count("\n") == 1 and not page.exists()
    assert f"the runs have no result in common {words}" in err


def test_the_differences_of_two_plans_are_one_line_of_every_report(tmp_path, capsys):
    old, new = made_up(row(1)), made_up(row(1), row(2), cases=8, paths=["cpu-native"])
    assert environment_changes(old, new) == [
        ("plan", "cases 6; paths cpu-native, cpu-cells", "cases 8; paths cpu-native")
    ]
    paths = write_both(tmp_path, (old, new))
    for options in ([], ["--markdown"]):
        code, out = bptt_oracle(capsys, "compare", *paths, *options)
        (line,) = [line for line in out.splitlines() if "plan" in line]
        cells = [cell.strip() for cell in line.replace("│", "|").split("|")[1:-1]]
        assert (code, cells) == (0, list(environment_changes(old, new)[0]))


def bptt_oracle(capsys, *arguments):
    """Exit status and standard output of a command, which must write nothing to standard error."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert err == ""
    return stop.value.code, out


def test_a_change_holds_the_old_R_and_the_new_R():
    found = change(row(R=0.5), row(R=3.0, bits="other"))
    assert (found.old, found.new) == (0.5, 3.0)
    raised = row(R=np.inf, verdict="fault", note="RuntimeError")
    found = change(raised, row(R=0.25))
    assert (found.old, found.new, found.note) == (np.inf, 0.25, "RuntimeError")


def test_results_of_one_run_are_found_before_between_and_after_the_others(monkeypatch):
    old, new = made_up(*map(row, (8, 3, 1, 5))), made_up(*map(row, (3, 2, 0, 1, 9, 8)))
    expected = {"1": "equal", "3": "equal", "5": "removed", "8": "equal"}
    expected |= dict.fromkeys("029", "new")
    for size in (1, 2, 1024):
        monkeypatch.setattr(pairs, "SIZE", size)
        found = [(c.case[-1], c.word) for c in changes(old, new)]
        assert dict(found) == expected and len(found) == len(expected)
        assert compare(old, new).total == Counter(expected.values())
        assert compare(new, old).total == {"equal": 3, "new": 1, "removed": 3}
    assert [c.word for c in changes(made_up(row(3)), made_up(*map(row, range(5))))] == [
        *("equal", "new", "new", "new", "new")
    ]


def test_the_medians_are_those_of_the_old_and_of_the_new_run():
    near = compare(made_up(row(R=0.5)), made_up(row(R=0.25, bits="other"))).closeness
    assert (near.median_old, near.median_new) == (0.5, 0.25)


def test_changes_of_environment_and_code_are_listed_old_before_new():
    old, new = made_up(row(), torch="2.4.1"), made_up(row(), code="another")
    assert environment_changes(old, new) == [
        ("torch", "2.4.1", "2.13.0"),
        ("bptt-oracle itself", "0123456789abcdef", "another"),
    ]
    assert environment_changes(old, old) == []


def test_every_tensor_recorded_by_both_runs_is_compared():
    x = np.array([4.0, -8.0, 1.0])
    values = {tensor: x for tensor in ("output", "h_n")}
    moved = {name: value + 2.0 for name, value in values.items()}
    found = dict(relative_differences(made_up(row(), kept=values), made_up(row(), kept=moved)))
    assert found == {" ".join([*row().key, name]): 0.25 for name in values}


def test_a_kernel_that_changed_under_another_word_is_not_reported_as_that_word():
    """Other dropout masks, and another kernel: one result, which has one word."""
    old, new = made_up(row(masks="a")), made_up(row(masks="b", kernel="k"))
    comparison = compare(old, new)
    report = markdown(old, new, comparison, [], 0)
    assert comparison.total == {"masks": 1} and WORDS["kernel"] not in report
    assert "another kernel, whatever the word: cpu-native float32, native → k, 1 result" in report


def test_many_results_are_compared_like_few():
    """More than a batch, with one of each at both ends and in the middle."""
    numbers = range(1, 3000)
    old = made_up(*(row(n) for n in numbers))
    new = made_up(
        *(
            row(n)
            if n not in (1, 1500, 2999)
            else row(n, R=n / 1000 + 3, bits="b", kernel="k" if n == 1 else "native")
            for n in numbers
        )
    )
    compared = compare(old, new, most=1)
    assert compared.total == {"equal": 2996, "drift": 3}
    assert [c.case for c in compared.worst["drift"]] == [row(2999).case]
    assert compared.closeness[:3] == (3, 3, 0) and compared.closeness.median_new == 4.5
    assert compared.kernels == {("cpu-native", "float32", "native → k"): 1}
    assert [c.word for c in changes(old, new, without=("equal",))] == ["drift"] * 3


@pytest.mark.parametrize(
    "bad",
    [
        row(R=17, verdict="agree"),
        row(R=0.5, R_h_n=99.0),
        row(R=0.5, verdict="fault"),
        row(R=0.5, verdict="crash"),
        row(R=0.5, R_h_n=17.0, verdict="untrusted"),
        row(R=0.5, R_h_n=-1.0),
        row()._replace(case="\x1b[2J"),
        row()._replace(path="\x1b[2J"),
    ],
)
def test_a_stored_verdict_that_its_R_contradicts_is_rejected(bad):
    run = made_up(bad)
    with pytest.raises(BadRun, match="is not a run: ") as rejection:
        compare(run, run)
    assert "\n" not in str(rejection.value)


def test_a_table_too_wide_for_its_console_keeps_paths_and_dtypes_whole(capsys):
    words = [f"a long head {i}" for i in range(14)]
    print_table(["path", "dtype", *words], [["cpu-native-again", "bfloat16", *words]])
    out = capsys.readouterr().out
    assert "cpu-native-again" in out and "bfloat16" in out
