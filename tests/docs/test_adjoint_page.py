"""The page of check_adjoint: its program prints what the page shows."""

import re

from bptt_oracle.ledger.claims import ROOT

TEXT = (ROOT / "docs" / "implementations" / "adjoint.md").read_text()
PROGRAM, OF_TORCH = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SHOWN = re.search(r"```\n(FAILS.*?\n)```", TEXT)[1]


def test_the_program_is_short_and_prints_what_the_page_shows(capsys):
    assert len([line for line in PROGRAM.splitlines() if line]) <= 12
    exec(PROGRAM, {})
    printed = capsys.readouterr().out
    assert printed == SHOWN


def test_with_the_sum_it_holds(capsys):
    exec(PROGRAM.replace("mean", "sum"), {})
    assert capsys.readouterr().out.startswith("holds: 37 elements in 37 directions")


def test_a_function_of_torch_is_checked_on_arrays(capsys):
    exec(OF_TORCH, {})
    right = OF_TORCH.replace("x * (1 - s)", "x * s * (1 - s)")
    assert right != OF_TORCH
    exec(right, {})
    assert capsys.readouterr().out.split() == ["False", "True"]
