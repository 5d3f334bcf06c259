"""The page about CI: its commands run, with the exit statuses and the reports that it promises."""

import json
import re
import shlex
from importlib.resources import files

import pytest

from bptt_oracle.ledger.claims import ROOT
from support.command_line import bptt_oracle

PAGE = (ROOT / "docs" / "runs" / "ci.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("bptt-oracle")
]
(OURS,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_the_commands_of_the_page_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ours.toml").write_text(OURS)
    first, *others = COMMANDS
    assert first == "bptt-oracle check --cases 64" and len(others) == 4  # CI runs the first
    printed = []
    for line in others:
        code, out, err = bptt_oracle(capsys, *shlex.split(line)[1:])
        assert code == 0, (line, out[-2000:], err)
        printed.append(out)
    assert printed[0].startswith("### bptt-oracle check") and "**passed**" in printed[3]
    assert "no longer occur: gru-input-gradient" in printed[1].splitlines()[-1]
    assert json.loads((tmp_path / "check.json").read_text())["status"] == 0
    assert (tmp_path / "check.xml").read_text().startswith("<?xml")


def test_the_schemas_that_the_page_links_to_are_installed():
    for name in re.findall(r"schemas/(\w+\.json)", PAGE):
        assert (files("bptt_oracle.reports") / "schemas" / name).is_file()
