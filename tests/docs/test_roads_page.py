"""The page of roads: a row of its table for each road, and the command that writes it."""

import json
import re
import runpy
import sys

import pytest

from bptt_oracle.ledger.claims import ROOT
from support.command_line import bptt_oracle
from torch_impl.roads.catalogue import ROADS

PAGE = ROOT / "docs" / "roads" / "roads.md"
SCRIPT = ROOT / "docs" / "roads" / "roads_table.py"


def test_the_table_has_a_row_for_each_road():
    rows = re.findall(r"^\| `(cpu-[\w-]+)` \|.*\| (float\d\d) \|", PAGE.read_text(), re.M)
    assert rows == [(name, dtype) for name, road in ROADS.items() for dtype in road.dtypes]


def test_the_command_writes_a_table_of_a_report(tmp_path, monkeypatch, capsys):
    common = {"path": "cpu-jvp", "dtype": "float32", "note": ""}
    results = [
        common | {"verdict": "agree", "R": 1.26},
        common | {"verdict": "fault", "R": 99.0},
        common | {"verdict": "excluded", "R": 0},
    ]
    file = tmp_path / "report.json"
    file.write_text(json.dumps({"results": results}))
    monkeypatch.setattr(sys, "argv", ["roads_table.py", str(file)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert "| `cpu-jvp` | `torch.func.jvp`: tangents | float32 | 2 | 1.3 | 1 fault |" in lines
    assert len(lines) == 2 + sum(len(road.dtypes) for road in ROADS.values())


def test_the_command_compares_the_reports_of_two_versions(tmp_path, monkeypatch, capsys):
    common = {"path": "cpu-jvp", "dtype": "float32", "note": ""}
    words = {"2.4.1+cu121": "known deviation", "2.13.0+cpu": "agree"}
    for version, word in words.items():
        results = [common | {"verdict": word, "R": 1.26}, common | {"verdict": "untrusted", "R": 0}]
        report = {"environment": {"torch": version}, "results": results}
        (tmp_path / version).write_text(json.dumps(report))
    files = [str(tmp_path / version) for version in words]
    monkeypatch.setattr(sys, "argv", ["roads_table.py", *files])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| road | dtype | 2.4.1 | 2.13.0 |"
    assert "| `cpu-jvp` | float32 | 1: 1 known | 1: 1.3 |" in lines


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(line, marks=pytest.mark.slow if "--path roads" in line else ())
        for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.S)
        for line in block.splitlines()
    ],
)
def test_the_commands_of_the_page_agree(command, capsys):
    name, *arguments = command.split()
    assert name == "bptt-oracle"
    code, out, _ = bptt_oracle(capsys, *arguments, "--workers", "1")
    assert code == 0 and "agrees with the derivations" in out
