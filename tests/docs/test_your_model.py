"""The page of recorded models: its example is short, and its commands run in their order."""

import re
import shlex
import subprocess
import sys

import pytest
import torch

from bptt_oracle.ledger.claims import ROOT
from support.command_line import bptt_oracle

TEXT = (ROOT / "docs" / "runs" / "your_model.md").read_text()
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = "".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)).splitlines()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the example and the weights that it loads, as the current one."""
    (tmp_path / "tagger.py").write_text(EXAMPLE)
    torch.manual_seed(1)
    weights = torch.nn.LSTM(8, 16, num_layers=2, batch_first=True).state_dict()
    torch.save(weights, tmp_path / "weights.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    sys.modules.pop("tagger", None)


def test_the_example_has_ten_lines():
    assert len([line for line in EXAMPLE.splitlines() if line.strip()]) <= 10


@pytest.mark.slow
def test_the_commands_run_in_their_order(folder, capsys):
    printed = []
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        if program == "python":
            out = subprocess.check_output([sys.executable, *arguments], text=True)
            assert "error over the noise: alone" in out
            continue
        assert program == "bptt-oracle"
        status, out, err = bptt_oracle(capsys, *arguments)
        assert status == 0, err
        printed.append(out + err)
    assert "3 results written to before, 0 faults; the worst is model:tagger:make" in printed[0]
    assert "3 results: 3 bitwise equal." in printed[2]


def test_the_page_names_results_as_the_command_does(folder, capsys):
    bptt_oracle(capsys, "record", "--model", "tagger.py:make", "-o", "run")
    bptt_oracle(capsys, "export", "run", "--csv", "run.csv")
    rows = (folder / "run.csv").read_text()
    assert "model:tagger:make.LSTM.call0.layer1" in rows
    assert "model:tagger:make.loss" in rows
