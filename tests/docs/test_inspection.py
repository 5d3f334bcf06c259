"""The examples on the pages of inspection run, and are short."""

import re

import pytest
import torch

from bptt_oracle.ledger.claims import ROOT

PAGES = ("norms", "nonfinite")


@pytest.mark.parametrize("page", PAGES)
def test_the_example_runs_in_at_most_twelve_lines(page):
    text = (ROOT / "docs" / "inspection" / f"{page}.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    lines = [line for line in example.splitlines() if line.strip()]
    assert len(lines) <= 12 and "assert" in example
    torch.manual_seed(0)
    exec(compile(example, f"docs/inspection/{page}.md", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_exists(page):
    text = (ROOT / "docs" / "inspection" / f"{page}.md").read_text()
    tests = (ROOT / f"tests/bptt_oracle/inspection/test_{page}.py").read_text()
    named = re.findall(r"`(test_\w+)`", text)
    assert named and [name for name in named if f"def {name}(" not in tests] == []
