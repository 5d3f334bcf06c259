"""The page on fleets: its commands run, and the figures of its tables are those of the code."""

import re
import shlex
from glob import glob

import pytest
import torch

from bptt_oracle.cli import preflight as command
from bptt_oracle.fleet import preflight, truth_file
from bptt_oracle.fleet.fixed_cases import CASES
from bptt_oracle.fleet.lines import to_text
from bptt_oracle.ledger.claims import ROOT
from support.command_line import bptt_oracle
from support.fleet_lines import STEPS, healthy_line, write_lines

TEXT = (ROOT / "docs" / "fleet" / "fleet.md").read_text()


def commands(kind):
    """The words of each command of bptt-oracle in the blocks of a kind, without what starts it."""
    blocks = re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if "bptt-oracle" in line]
    return [line for line in lines if re.search(r"\bbptt-oracle\b.*\b(preflight|cohort)\b", line)]


def test_the_first_commands_run_in_the_order_of_the_page(monkeypatch, capsys, tmp_path):
    examine_device = preflight.examine_device
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # which the command sets
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "run_isolated", lambda work, device: work(device))
    monkeypatch.setattr(
        preflight, "examine_device", lambda device, settings: examine_device(device, STEPS)
    )
    for other in ("a", "b"):
        write_lines(tmp_path / f"{other}.jsonl", [healthy_line(host=other)])
    first, second = commands("sh")[:2]
    assert bptt_oracle(capsys, *shlex.split(first)[1:], "--device=cpu")[0] == 0
    *words, files = shlex.split(second)[1:]
    status, out, _ = bptt_oracle(capsys, *words, *sorted(glob(files)))
    assert status == 0 and "3 devices in 1 cohort: all agree" in out


def test_the_runs_of_three_workers_agree(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (block,) = [b for b in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) if " record " in b]
    *recordings, comparison = block.splitlines()
    for line in recordings:
        assert bptt_oracle(capsys, *shlex.split(line)[1:], "--workers=1")[0] == 0
    status, out, _ = bptt_oracle(capsys, *shlex.split(comparison)[1:])
    assert status == 0 and "3 devices in 1 cohort: all agree" in out


def test_the_commands_of_containers_and_of_slurm_are_accepted(capsys):
    (container,) = commands("yaml")
    (entry,) = commands("dockerfile")
    (slurm,) = [line for line in commands("sh") if line.startswith("exec timeout")]
    listed = [re.findall(r'"([^"]*)"', line) for line in (container, entry)]
    slurm_words = [word for word in shlex.split(slurm) if "shared" not in word and word != "-o"]
    for words in (*listed, slurm_words):
        start = next(i for i, word in enumerate(words) if word.endswith("bptt-oracle"))
        assert words[start + 1 :] == ["preflight", "--device", "cuda"]
        if not torch.cuda.is_available():
            status, _, err = bptt_oracle(capsys, *words[start + 1 :])
            assert status == 2 and "--device cuda cannot run" in err


def test_the_sizes_on_the_page_are_those_of_the_code():
    for case in CASES.values():
        (row,) = re.findall(rf"^\| `{case.name}` \|.*$", TEXT, re.MULTILINE)
        assert f"T = {case.T}, B = {case.B}, I = {case.I}, H = {case.H}" in row
    assert f"{truth_file.FILE.stat().st_size / 1e6:.1f} MB" in TEXT
    brief, full = (len(to_text(healthy_line(), brief=brief)) for brief in (True, False))
    assert 600 < brief < 1000 and full > 20 * brief


@pytest.mark.parametrize("entry", sorted({*healthy_line()} | {"reason"}))
def test_every_entry_of_a_line_is_on_the_page(entry):
    assert f"`{entry}`" in TEXT
