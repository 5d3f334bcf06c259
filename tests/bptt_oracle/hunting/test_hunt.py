"""The command `hunt`."""

import pytest

from bptt_oracle.__main__ import main
from bptt_oracle.hunting import engine


def hunt(capsys, *arguments):
    """The exit status, standard output and standard error of the command."""
    with pytest.raises(SystemExit) as stop:
        main(["hunt", *map(str, arguments)])
    return stop.value.code, *capsys.readouterr()


def test_a_road_that_does_not_exist_is_reported(capsys):
    status, _, err = hunt(capsys, "--road", "nowhere")
    assert status == 2 and "there is no road 'nowhere'; choose from optimizers" in err


def test_a_foreign_file_is_left_unchanged(capsys, tmp_path):
    file = tmp_path / "thesis"
    file.write_text("mine")
    status, _, err = hunt(capsys, "--minutes", 0, "--state", file)
    assert status == 2 and "was left unchanged" in err and file.read_text() == "mine"


def test_nothing_new_in_no_time(capsys, tmp_path):
    status, out, _ = hunt(capsys, "--minutes", 0, "--state", tmp_path / "hunt")
    assert status == 0 and "0 new finds" in out


@pytest.mark.slow
def test_a_find_is_reported_once(capsys, tmp_path, monkeypatch):
    """Trial 0 is the program of a known mistake, and so is every trial after it."""
    program = {"method": "to copy"}
    draw = engine.draw_program

    def drawn(fields, rng):
        return {n: f.plain for n, f in fields.items()} | {"seed": 1} | program

    monkeypatch.setattr(engine, "draw_program", drawn)
    arguments = ("--minutes", 0.05, "--road", "packing", "--state", tmp_path / "hunt")
    status, out, err = hunt(capsys, *arguments)
    assert status == 1 and out.count("import torch") == 1 and "1 new find" in out
    assert err.count("rejected valid input") == 1
    status, out, err = hunt(capsys, *arguments)
    assert status == 0 and "import torch" not in out and "1 find known before" in out
    status, out, err = hunt(capsys, *arguments, "--all")
    assert status == 0 and out.count("import torch") == 1
    assert draw is not drawn
