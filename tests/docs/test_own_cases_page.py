"""The page of own cases: its commands run on its file, and its tables are those of the code."""

import re
import shlex

import pytest

from bptt_oracle.cases.case import parse
from bptt_oracle.cases.own_cases import FIELDS, read_cases
from bptt_oracle.ledger.claims import ROOT
from support.command_line import bptt_oracle

PAGE = (ROOT / "docs" / "cases" / "own_cases.md").read_text()
BLOCKS = dict(re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL))


@pytest.mark.slow
def test_every_command_of_the_page_runs_and_its_rows_can_be_replayed_and_compared(
    capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_cases.toml").write_text(BLOCKS["toml"])
    for line in BLOCKS["sh"].splitlines():
        code, out, err = bptt_oracle(capsys, *shlex.split(line)[1:], "--workers", "1")
        assert code == 0, (line, out[-2000:], err)
    assert "6 results written to before" in err
    code, out, err = bptt_oracle(capsys, "compare", "before", "before")
    assert (code, out.splitlines()[-1]) == (0, "6 results: 6 bitwise equal.")
    assert bptt_oracle(capsys, "export", "before", "--csv", "rows.csv")[0] == 0
    rows = (tmp_path / "rows.csv").read_text().splitlines()[1:]
    ids = {row.split(",")[0].strip('"') for row in rows}
    assert ids == {case.id for case in read_cases(tmp_path / "own_cases.toml")}
    for name in ids:
        assert bptt_oracle(capsys, "replay", name)[0] == 0


def test_the_yaml_of_the_page_is_read(tmp_path):
    (tmp_path / "a.yaml").write_text(BLOCKS["yaml"])
    assert [case.rule for case in read_cases(tmp_path / "a.yaml")] == ["rest1"]


def test_the_page_lists_every_field():
    listed = re.search(r"The fields are (.*?)\. A file", PAGE, re.DOTALL)[1]
    assert re.findall(r"`(\w+)`", listed) and set(re.findall(r"`(\w+)`", listed)) == {*FIELDS}


def test_the_rules_of_the_page_are_rules():
    for rule in re.findall(r"^\| `(\w+)` \| `", PAGE, re.MULTILINE):
        parse(f"GRU.T6.B3.I4.H5.L1.packed-{rule}.h0.output.generic.s0")
