"""The page of the hunt: its commands run, and its tables are those of the code."""

import re
import shlex

import pytest

from bptt_oracle.__main__ import main
from bptt_oracle.hunting.programs.subject import SYMPTOMS
from bptt_oracle.hunting.subjects.table import names
from bptt_oracle.ledger.claims import ROOT

PAGE = (ROOT / "docs" / "finds" / "hunt.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^bptt-oracle (.*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs(command, capsys, tmp_path, monkeypatch):
    """For no time, so that nothing is found."""
    monkeypatch.chdir(tmp_path)
    words = shlex.split(re.sub(r"--minutes \d+", "--minutes 0", command))
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0, capsys.readouterr().err


def test_every_road_and_symptom_is_explained():
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == [*names()]
    table = PAGE.partition("| symptom | meaning |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| ([a-z ]+) \|", table, re.MULTILINE) == [*SYMPTOMS]
