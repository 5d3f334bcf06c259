"""The ledger: no claim without code, page and test; no test of a claim that is not there."""

import ast
import re
from pathlib import Path

import pytest

from harness.claims import ROOT, claims, named_by_tests, to_markdown

ROWS = claims()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_claim_has_a_test_and_the_code_that_it_names(row):
    assert row.tests, f"no test is marked with {row.id}"
    for part in row.code.split(", "):
        file, _, equations = part.partition(" ")
        path = ROOT / (file if "/" in file else f"reference/{file}")
        assert path.exists(), path
        for number in re.findall(r"\d+′?", equations):
            assert f"({number})" in path.read_text(), f"{file} has no equation ({number})"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_claim_has_a_page(row):
    assert (ROOT / "docs" / f"{row.page}.md").exists()


def test_every_claim_that_does_not_hold_has_a_section_of_the_errata():
    errata = (ROOT / "docs" / "errata.md").read_text()
    assert [row.id for row in ROWS if not row.holds and f"## {row.id} " not in errata] == []


def test_no_test_names_a_claim_that_is_not_in_the_ledger():
    found = named_by_tests((ROOT / "tests").glob("test_*.py"))
    assert set(found) - {row.id for row in ROWS} == set()


def equations(file):
    """The numbers of a docstring's equations, and those in the margin of its code."""
    text = file.read_text()
    docstring = ast.get_docstring(ast.parse(text)) or ""
    stated = set(re.findall(r"(?:^|  ) *\((\d+′?)\) ", docstring, re.MULTILINE))
    margin = set()
    for comment in re.findall(r"#\s+((?:\(\d+′?\)[ ,–…]*)+)", text):
        margin |= set(re.findall(r"\((\d+′?)\)", comment))
    return stated, margin


FILES = sorted((Path(ROOT) / "reference").glob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_numbered_equation_has_a_line_of_code_and_every_margin_number_an_equation(file):
    stated, margin = equations(file)
    assert stated == margin


def test_the_page_of_claims_links_to_what_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", to_markdown(ROWS)):
        assert (ROOT / "docs" / target).exists(), target
