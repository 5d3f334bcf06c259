"""No input of the command line, and no file that it reads, makes it fail without a sentence."""

import re
from pathlib import Path

import pytest

import fuzz
from support.attacks import KINDS
from support.command_line import bptt_oracle

PAGE = Path(__file__).parents[3] / "docs" / "reliability.md"


def is_one_sentence(err):
    """Whether an error message is one line, without control characters and a traceback."""
    text = err.rstrip("\n")
    return text and "Traceback" not in text and "\n" not in text and "\x1b" not in text


@pytest.mark.parametrize(
    "kind, index",
    [
        pytest.param(kind, index, id=f"{kind.name} {index}")
        for kind in KINDS
        for index in range(kind.number)
    ],
)
def test_an_attack_ends_with_status_2_and_one_sentence(kind, index, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = f"file{index}" if kind.files else kind.inputs[index]
    command = [word.replace("{}", given) for word in kind.command]
    if kind.files:
        suffix = re.sub(r".*\{\}", "", kind.command[-1])
        (tmp_path / f"{given}{suffix}").write_bytes(kind.files[index])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    code, out, err = bptt_oracle(capsys, *command)
    assert code == 2, out + err
    assert is_one_sentence(err), err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_fuzz_knows_every_command():
    assert fuzz.NEAR.keys() == {*fuzz.COMMANDS}


def test_the_page_lists_every_kind_with_its_number():
    page = PAGE.read_text(encoding="utf-8")
    assert sum(kind.number for kind in KINDS) >= 200
    for kind in KINDS:
        assert f"| {kind.name} | {kind.number} |" in page, f"| {kind.name} | {kind.number} |"
