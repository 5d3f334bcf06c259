"""Tables at 80 columns: no name is cut, and no digit that matters; and the verdict lines."""

import io
import re

import numpy as np
import pytest

from bptt_oracle.implementations.implementation import Answer
from bptt_oracle.judging.deviation_entries import Deviation
from bptt_oracle.judging.deviations import Tally, installed_deviations
from bptt_oracle.judging.offsets import Offset
from bptt_oracle.judging.truth import Expected
from bptt_oracle.reports import compare_tables
from bptt_oracle.reports.check_tables import (
    print_deviations,
    print_environment,
    print_offsets,
    print_results,
)
from bptt_oracle.reports.console import new_console, print_verdict
from bptt_oracle.reports.optimizer_tables import print_optimizers
from bptt_oracle.reports.replay_tables import (
    mark_difference,
    print_replay,
    print_replay_verdict,
)
from bptt_oracle.reports.verdicts import check_verdict
from bptt_oracle.runs.compare import WORDS
from bptt_oracle.runs.environment import environment
from bptt_oracle.runs.results import Result
from support.drawn_cases import pinned
from torch_impl.execution.catalogue import OPTIONAL_PATHS, PATHS

CELLS = ("RNN_TANH", "RNN_RELU", "GRU", "LSTM")


def narrow():
    """A console of 80 columns whose text is kept."""
    return new_console(file=io.StringIO(), width=80)


def result(path="cpu-native", cell="LSTM", dtype="float32", verdict="agree", R=1.0, note=""):
    place = ("d_weight_hh_l1_reverse", "gate g unit 13 from unit 15")
    return Result(f"{cell}.case", path, dtype, cell, verdict, R, *place, "native", 0.1, note, {})


def test_the_table_of_a_check_cuts_no_name_at_80_columns():
    paths = [*PATHS, *OPTIONAL_PATHS, "cpu-invalid-calls"]
    dtypes = ("float32", "float64", "bfloat16", "float16")
    results = [result(p, c, d) for p in paths for c in CELLS for d in dtypes]
    results.append(result("cpu-invalid-calls", verdict="known deviation", R=np.inf, note="its-id"))
    console = narrow()
    print_results(console, results, {}, 1.0)
    out = console.file.getvalue()
    table = [line for line in out.splitlines() if line.startswith(("│", "┃"))]
    assert all(len(line) <= 80 for line in table)
    words = {word for line in table for word in line.split()}
    assert {*paths, *CELLS, *dtypes} <= words and "…" not in out
    assert " inf " not in out and "d_weight_hh_l1_reverse, gate g unit 13 from unit 15" in out


def test_the_environment_and_the_deviations_lose_no_character_at_80_columns():
    console, header = narrow(), environment()
    print_environment(console, header, verbose=True)
    tallies = [Tally(deviation, 1, 1) for deviation in installed_deviations()]
    print_deviations(console, tallies)
    out = console.file.getvalue()
    squeezed = "".join(out.split())
    for name, value in header.items():
        assert name in out and "".join(str(value).split()) in squeezed
    for deviation in installed_deviations():
        assert deviation.id in out
        assert deviation.issue.removeprefix("https://github.com/").replace("/issues/", "#") in out


def test_a_comparison_with_every_word_cuts_no_name_at_80_columns(monkeypatch, capsys):
    monkeypatch.setattr(compare_tables, "new_console", lambda: new_console(width=80))
    head = ["path", "dtype", "results", *WORDS.values()]
    rows = [[path, "bfloat16", *["12345"] * (len(WORDS) + 1)] for path in (*PATHS, *OPTIONAL_PATHS)]
    compare_tables.print_table(head, rows)
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines()) and "…" not in out
    assert set(out.split()) >= {*PATHS, *OPTIONAL_PATHS, "bfloat16"}
    for meaning in WORDS.values():
        assert set(meaning.split()) <= set(re.findall(r"[\w]+", out))


def test_a_replay_shows_all_digits_at_80_columns_and_sets_the_differing_ones_in_bold():
    names = ["d_weight_hh_l1_reverse", "d_weight_ih_l1_reverse"]
    truth = {name: np.full((24, 6), -1 / 3) for name in names}
    value = np.full((24, 6), -1 / 3, np.float32)
    console = narrow()
    measured = Expected(truth, dict.fromkeys(names, (1e-8, 1e-8)), False)
    case = pinned(bidirectional=True)
    print_replay(console, case, Answer(dict.fromkeys(names, value), "native"), measured)
    out = console.file.getvalue()
    assert all(len(line) <= 80 for line in out.splitlines()) and "…" not in out
    assert all(f"│ {name} │" in out for name in names)
    assert "-0.3333333432674408 " in out and "-0.33333333333333331 " in out
    texts = mark_difference("0.16031306", "0.16031290")
    assert [text.plain[text.spans[0].start :] for text in texts] == ["306", "290"]


DEVIATION = installed_deviations()[0] if installed_deviations() else None


@pytest.mark.parametrize(
    "results, met, line",
    [
        ([result(R=3.651)], 1, "agrees with the derivations: 1 result, worst R 3.65 of 16, "
         "1 known deviation met"),
        ([result(), result(verdict="untrusted", R=0)], None, "agrees with the derivations: "
         "2 results, worst R 1.00 of 16, 1 untrusted"),
        ([result(), result(verdict="fault", R=np.inf)], 1, "does not agree with the derivations: "
         "1 fault in 2 results, the worst on cpu-native, LSTM, float32 (not finite)"),
        ([result()], 0, "agrees with the derivations in 1 result, but there are listed deviations "
         "that no longer occur: ID"),
        ([result(verdict="fault", R=20)], 0, "does not agree with the derivations: 1 fault in "
         "1 result, the worst on cpu-native, LSTM, float32 (R 20.00 of 16); listed deviations "
         "that no longer occur: ID"),
        ([result(verdict="untrusted")], 1, "could not be judged: 1 of 1 result untrusted"),
        ([result(verdict="excluded"), result()], None, "agrees with the derivations: 1 result, "
         "worst R 1.00 of 16"),
    ],
)  # fmt: skip
def test_the_verdict_of_a_check_is_one_sentence(results, met, line):
    if DEVIATION is None:
        pytest.skip("this torch has no known deviation")
    tallies = [] if met is None else [Tally(DEVIATION, 1, met)]
    expected = f"torch 2.13.0 {line}".replace("ID", DEVIATION.id)
    assert check_verdict("2.13.0", results, tallies) == expected


def test_a_stale_deviation_is_named_without_the_table():
    if DEVIATION is None:
        pytest.skip("this torch has no known deviation")
    console = narrow()
    print_deviations(console, [Tally(DEVIATION, 1, 0)], table=False)
    assert f"stale: {DEVIATION.id} is listed for torch" in console.file.getvalue()


def test_no_text_of_a_user_is_read_as_markup_or_emoji(monkeypatch, capsys):
    hostile = "[bold]a[/x] :cat: [3,4]"
    console = new_console(file=io.StringIO(), width=400)
    wrong = result(path=hostile, verdict="fault", R=np.inf, note=hostile)
    print_environment(console, {hostile: hostile}, verbose=True)
    print_results(console, [wrong, wrong], {hostile: hostile}, 1.0)
    print_optimizers(console, [wrong], 1.0)
    print_offsets(console, [Offset(hostile, hostile, hostile, 40, 0.5, 20.0)])
    tallies = [Tally(Deviation(hostile, "", hostile, hostile), 1, met) for met in (0, 1)]
    print_deviations(console, tallies, files={hostile: hostile})
    print_replay_verdict(console, "fault", hostile, hostile)
    monkeypatch.setattr(compare_tables, "new_console", lambda: console)
    compare_tables.print_table([hostile], [[hostile]], names=1)
    print_verdict(hostile, 0)
    shown = console.file.getvalue() + capsys.readouterr().out
    assert shown.count(hostile) == 2 + 8 + 4 + 3 + 7 + 2 + 2 + 1  # of the calls above, in order
