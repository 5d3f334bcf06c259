"""Write a run as JSON and CSV, and read the JSON again."""

import csv
import json

import numpy as np
import pytest

from bptt_oracle.__main__ import main
from bptt_oracle.runs.compare import compare
from bptt_oracle.runs.opening import open_runs
from support.runs import HOSTILE, made_up, read, row

ROWS = [
    row(1, R_h_n=None),
    row(2, R=np.inf, verdict="fault", note=HOSTILE),
    row(3, R=20, verdict="fault", masks="0123456789abcdef"),
]


def export(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main(["export", *map(str, arguments)])
    return end.value.code, *capsys.readouterr()


def test_the_json_is_read_and_compared_like_the_run(tmp_path, capsys):
    run, file = made_up(*ROWS), tmp_path / "run.json"
    assert export(capsys, run.file, "--json", file) == (0, "", "")
    assert read(file) == read(run.file) and read(file).rows == ROWS
    with open_runs(run.file, file) as (before, after):
        compared = compare(before, after)
    assert compared.total == {"equal": 1, "fault": 2} and compared.closeness.moved == 0
    again = tmp_path / "again.json"
    assert export(capsys, file, "--json", again) == (0, "", "")
    assert again.read_bytes() == file.read_bytes()
    assert len(json.loads(file.read_text())["results"]) == 3


def test_a_run_without_results_is_exported(tmp_path, capsys):
    file = tmp_path / "run.json"
    assert export(capsys, made_up().file, "--json", file)[0] == 0
    assert read(file).rows == [] and json.loads(file.read_text())["results"] == []


def test_the_csv_has_a_line_for_each_result(tmp_path, capsys):
    file = tmp_path / "run.csv"
    assert export(capsys, made_up(*ROWS).file, "--csv", file) == (0, "", "")
    with file.open(newline="") as lines:
        found = list(csv.DictReader(lines))
    assert [(r["case"], float(r["R"]), r["note"]) for r in found] == [
        (r.case, r.R, r.note) for r in ROWS
    ]
    assert [r["tensors"] for r in found] == ["output=0.5 h_n=", "", "output=20 h_n=0.4"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["run"], "nothing to write; name a file with --json or --csv"),
        (["run", "--json", "run"], "run would be written over; name another file"),
        (["run", "--json", "x", "--csv", "./x"], "x would be written over; name another file"),
        (["none", "--json", "x"], "none is not a file"),
        (["text", "--json", "x"], "text is not a run; `bptt-oracle record -o` writes one"),
    ],
)
def test_what_cannot_be_exported_is_rejected(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").write_bytes(made_up(*ROWS).file.read_bytes())
    (tmp_path / "text").write_text("text")
    code, out, err = export(capsys, *arguments)
    assert (code, out) == (2, "") and words in err and err.count("\n") == 1
    assert {file.name for file in tmp_path.iterdir()} == {"run", "text"}


def test_nothing_is_written_if_a_result_is_bad(tmp_path, capsys):
    bad = made_up(row(1), row(2, R=17))
    code, out, err = export(capsys, bad.file, "--csv", tmp_path / "x", "--json", tmp_path / "y")
    assert (code, out) == (2, "") and "which its R contradicts" in err
    assert list(tmp_path.iterdir()) == []
