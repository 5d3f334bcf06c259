"""What is shown of a judgment: every evaluation, forward and backward, and no other numbers."""

from itertools import groupby

import pytest

from bptt_oracle.cases.case import draw, parse
from bptt_oracle.implementations.implementation import Implementation
from bptt_oracle.implementations.torch_paths import torch_path
from bptt_oracle.judging.truth import MOVED_RUNS, RENUMBERED_RUNS, expect
from bptt_oracle.processes.stages import Stages, current_stages, work_in_stages
from bptt_oracle.reports.console import progress_with_stages
from bptt_oracle.runs.examine import examine
from bptt_oracle.runs.record import Plan, record
from support.command_line import bptt_oracle
from torch_impl.execution.catalogue import PATHS
from torch_impl.execution.run import run

CELLS = ("RNN_TANH", "RNN_RELU", "GRU", "LSTM", "LSTM_PEEPHOLE")
PACKED = "T4.B3.I2.H3.L2.bi.packed-4-2-1.h0.output+h_n.generic.s1"
IDS = [f"{cell}.{PACKED}" for cell in CELLS]
IDS += [
    "LSTM.T3.B2.I2.H4.L1.time.h_n.generic.s2",
    "GRU.T3.B1.I2.H4.L1.unbatched.h0.output.generic.s2",
    "RNN_RELU.T4.B3.I4.H6.L1.time.h0.output+h_n.exact.s0",  # more evaluations than are announced
]


@pytest.fixture
def texts(monkeypatch):
    """The texts that are shown, none left out."""
    found = []
    monkeypatch.setattr(Stages, "show", lambda self, text, at_once=False: found.append(text))
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", IDS)
def test_each_evaluation_is_followed_to_its_end_and_its_numbers_stay(texts, tmp_path, name, dtype):
    problem = draw(parse(name))
    alone = expect(problem, dtype)
    assert texts == []
    watched = work_in_stages(tmp_path, lambda item: expect(item, dtype), problem)
    for tensor, value in alone.truth.items():
        assert (watched.truth[tensor] == value).all()
        assert watched.noise[tensor] == alone.noise[tensor]
    evaluations = [list(group) for _, group in groupby(texts, lambda t: t.split(",")[0])]
    names = [group[0].split(",")[0] for group in evaluations]
    number = 2 + RENUMBERED_RUNS + MOVED_RUNS
    assert names[0] == f"{dtype} truth" and len(evaluations) > number
    assert names[1] == f"{dtype} noise 1 of {number}"
    assert names[-1] == f"{dtype} noise {len(names) - 1} of {len(names) - 1}"
    for group in evaluations:
        passes = [text.split(", ")[1].split() for text in group]
        numbers = [(words[0] == "backward", int(words[1])) for words in passes]
        assert numbers == sorted(numbers), "it goes on"
        assert numbers[0][0] is False and numbers[-1] == (True, 100)
        assert numbers.count((True, 0)) == 1, "what is counted forward is all that there is"


def test_the_run_of_an_implementation_is_shown(texts, tmp_path):
    case = parse(IDS[3])
    paths = [torch_path("cpu-native"), torch_path("cpu-cells")]
    work_in_stages(tmp_path, lambda item: examine(item, "float32", paths), case)
    assert [text for text in texts if "," not in text] == [
        "float32 cpu-native",
        "float32 cpu-cells",
    ]


def _compute(problem, dtype):
    if current_stages() is None:
        raise RuntimeError("no stages are shown")
    return run(PATHS["cpu-native"], problem, dtype).results


staged = Implementation("staged", run=_compute)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_of_record_show_their_stages(tmp_path, workers):
    plan = Plan(0, 0, ["float32"], [f"{__name__}:staged"], [], [parse(IDS[5])])
    folder = tmp_path / "stages"
    folder.mkdir()
    for stages_of, word in ((folder, "agree"), (None, "fault")):
        file = tmp_path / word
        assert record(file, plan, {}, workers, stages=stages_of).verdicts == {word: 1}
    assert list(folder.iterdir()) == []


OPTIONS = ["--path", "cpu-native", "--dtype", "float32", "--workers", "1"]


@pytest.mark.slow
@pytest.mark.parametrize("command", [["check"], ["record", "-o", "run"]], ids=lambda c: c[0])
def test_stages_are_shown_for_own_cases_in_a_terminal(
    texts, capsys, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    words = [*command, "--case", IDS[5], *OPTIONS]
    assert bptt_oracle(capsys, *words)[0] == 0 and texts == []
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes standard error for a terminal
    corpus = [*command[:1], *(["-o", "other"] * (len(command) > 1)), "--cases", "1", *OPTIONS]
    for quiet in ([*words, "-q"], corpus):
        assert bptt_oracle(capsys, *quiet)[0] == 0 and texts == []
    assert bptt_oracle(capsys, *words)[0] == 0
    assert texts[-1] == "float32 cpu-native"


def test_a_terminal_has_the_stages_below_the_description(monkeypatch):
    with progress_with_stages(False, True) as (progress, folder):
        assert progress.disable and folder is None
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_with_stages(False, True) as (progress, folder):
        progress.add_task("cases checked", total=2)
        (folder / "12").write_text("[red]truth, forward 3 %")
        (folder / "7").write_text("noise")
        description = progress.columns[0].render(progress.tasks[0])
        assert description.plain == "cases checked\n  [red]truth, forward 3 %\n  noise"
        (folder / "12").unlink()
        assert progress.columns[0].render(progress.tasks[0]).plain == "cases checked\n  noise"
    assert not folder.exists()
