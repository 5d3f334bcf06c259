"""The pages on upgrading and on CI: their commands run, in the order of the page."""

import re
import shlex

import pytest
import torch

from bptt_oracle.__main__ import main
from bptt_oracle.cases.corpus import corpus
from bptt_oracle.ledger.claims import ROOT
from bptt_oracle.runs import versions
from bptt_oracle.runs.compare import WORDS
from torch_impl.execution import calls

PAGES = ("upgrading", "upgrades", "run_file")  # ci: tests/docs/test_ci_page.py
SMALL = ["--cases=2", "--workers=1"]  # of an option given twice, the last one counts
FAULT = "LSTM.T17.B1.I3.H7.L1.tied.time.h0.output+h_n+c_n.tiny.s6"


def blocks(page, kind):
    text = (ROOT / "docs" / "runs" / f"{page}.md").read_text()
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


def commands(page):
    """The arguments of each command of a page."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("bptt-oracle ")]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_command_runs_in_the_order_of_the_page(page, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise versions.CannotRun("not here")

    has_fault = not lstm_runs_in_bfloat16()
    monkeypatch.setattr(versions, "record_versions", fail)  # which would install torch
    monkeypatch.chdir(tmp_path)
    assert commands(page)
    for words in commands(page):
        with pytest.raises(SystemExit) as stop:
            main(words + SMALL * (words[0] in ("record", "check")))
        out, err = capsys.readouterr()
        if words[0] == "versions":
            assert (stop.value.code, err) == (2, "bptt-oracle: not here\n")
        else:
            shows = {"older", FAULT} & {*words} and words[0] != "record"
            fault = bool(has_fault and shows and "--script" not in words)
            assert stop.value.code == fault, (words, out[-2000:], err)


def lstm_runs_in_bfloat16():
    """False in torch 2.4.1 on a processor without bfloat16 instructions."""
    try:
        torch.nn.LSTM(2, 3, dtype=torch.bfloat16)(torch.ones(2, 1, 2, dtype=torch.bfloat16))
    except RuntimeError:
        return False
    return True


def test_the_ci_job_runs_the_commands_of_the_page():
    (job,) = blocks("ci", "yaml")
    commands_of_page = blocks("ci", "sh")[0]
    assert all(f"- run: {line}\n" in job for line in commands_of_page.splitlines())
    assert len(job.splitlines()) <= 10


def test_the_fault_shown_on_the_page_is_in_the_corpus_that_it_records():
    page = (ROOT / "docs" / "runs" / "upgrading.md").read_text()
    assert page.count(FAULT) == 3 and FAULT in [case.id for case in corpus(64)]


def test_every_word_of_a_comparison_is_explained():
    page = (ROOT / "docs" / "runs" / "upgrading.md").read_text()
    explained = re.findall(r"^\| ([a-z, ]+) \|", page, re.MULTILINE)
    assert set(WORDS.values()) <= {word for row in explained for word in row.split(", ")}


def test_replay_reports_an_exception_of_torch_as_a_fault_without_a_traceback(monkeypatch, capsys):
    def raises(*_):
        raise RuntimeError("could not create\n[a primitive]")

    def replayed(*more):
        with pytest.raises(SystemExit) as stop:
            main(["replay", FAULT, *more])
        return stop.value.code, capsys.readouterr().out

    monkeypatch.setattr(calls, "call_module", raises)
    code, out = replayed()
    assert code == 1 and "torch raised RuntimeError: could not create" in out
    code, out = replayed("--script")
    assert code == 0 and compile(out, "report.py", "exec")
