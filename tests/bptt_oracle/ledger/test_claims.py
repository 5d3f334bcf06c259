"""The ledger: no claim without code, page and test; no test of a claim that is not there; and from
every equation a link to the line that computes it, and back.
"""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from bptt_oracle.ledger.claims import ROOT, claims, named_by_tests, places, to_markdown
from bptt_oracle.ledger.margins import computed, page_of, stated

ROWS = claims()
FILES = [file for file in sorted((ROOT / "reference").rglob("*.py")) if file.stem != "__init__"]
PAGE = ROOT / "docs" / "ledger" / "claims.md"

each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


@each_row
def test_every_claim_has_a_test(row):
    assert row.tests, f"no test is marked with {row.id}"


@each_row
def test_every_claim_names_code_that_is_there_and_its_equations_where_it_has_any(row):
    for part in row.code.split(", "):
        file, lines = places(part)
        assert file.exists(), file
        assert lines or file.is_relative_to(ROOT / "bptt_oracle"), f"{part}: which lines of it?"


@each_row
def test_every_claim_has_a_page_that_links_to_code_and_tests(row):
    text = (ROOT / "docs" / f"{row.page}.md").read_text()
    assert re.search(r"\]\((\.\./)+(reference|bptt_oracle)/", text)
    assert re.search(r"\]\((\.\./)+tests/[\w/]*test_", text)


MADE_UP = """import os, pytest
@pytest.mark.claim("A1", "X7")
@pytest.mark.parametrize("n", [1, 2])
def test_{}(n):
    assert f"{} {{n}}" not in os.environ["FAILING"]
"""


def test_a_claim_has_failed_until_the_very_test_passes(tmp_path, monkeypatch):
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").touch()
    for name in ("one", "two"):
        (tmp_path / f"test_{name}.py").write_text(MADE_UP.format(name, name))
    monkeypatch.setattr(
        "bptt_oracle.ledger.claims.FAILURES", tmp_path / ".pytest_cache/v/bptt-oracle/failures"
    )
    both = {"A1": ["test_one.py::test_one", "test_two.py::test_two"]}
    monkeypatch.setattr("bptt_oracle.ledger.claims.named_by_tests", lambda files: both)
    for failing, arguments, verdict in [
        ("", ["test_one.py"], "verified"),
        ("one 2, two 1", [], "failed"),
        ("", ["test_two.py"], "failed"),  # one[2] did not run
        ("", ["test_one.py::test_one[1]"], "failed"),
        ("", ["--deselect=test_two.py"], "verified"),
    ]:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", *arguments]
        around = os.environ | {"FAILING": failing}
        subprocess.run(command, cwd=tmp_path, env=around, capture_output=True, timeout=120)
        assert {row.id: row.verdict for row in claims()}["A1"] == verdict, arguments


def test_a_test_that_is_gone_has_not_failed(tmp_path, monkeypatch):
    monkeypatch.setattr("bptt_oracle.ledger.claims.FAILURES", tmp_path / "failures")
    there = ROWS[0].tests[0]
    for name, verdict in (("test_gone.py::test_gone[1]", "verified"), (f"{there}[1]", "failed")):
        (tmp_path / "failures").write_text(json.dumps({ROWS[0].id: [name]}))
        assert claims()[0].verdict == verdict


def test_every_claim_that_does_not_hold_has_a_section_of_the_errata():
    errata = (ROOT / "docs" / "ledger" / "errata.md").read_text()
    assert [row.id for row in ROWS if not row.holds and f"## {row.id} " not in errata] == []


def test_no_test_names_a_claim_that_is_not_in_the_ledger():
    found = named_by_tests((ROOT / "tests").rglob("test_*.py"))
    assert set(found) - {row.id for row in ROWS} == set()


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_every_test_that_a_page_names_is_there(page):
    named = set(re.findall(r"`(test_\w+)`", page.read_text()))
    code = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    assert named - set(re.findall(r"^def (test_\w+)\(", code, re.MULTILINE)) == set()


@each_file
def test_every_numbered_equation_has_a_line_of_code_and_every_margin_number_an_equation(file):
    assert set(stated(file)) == set(computed(file))


@each_file
def test_every_file_names_its_page_and_the_page_links_to_it_and_to_tests(file):
    page = ROOT / "docs" / f"{page_of(file)}.md"
    assert page.exists(), "the docstring should end in a line 'Page: docs/….md'"
    text = page.read_text()
    assert f"../{file.relative_to(ROOT)})" in text
    assert re.search(r"\]\((\.\./)+tests/[\w/]*test_", text)


@each_file
def test_every_equation_stands_on_a_page_that_links_to_its_file(file):
    pages = [page.read_text() for page in (ROOT / "docs").rglob("*.md") if page != PAGE]
    text = "".join(page for page in pages if f"../{file.relative_to(ROOT)})" in page)
    assert [number for number in stated(file) if not printed(number, text)] == []


def printed(number, text):
    """Whether a page contains the number: (3), (3′) and, with a dot, (\\dot 3), (\\dot 3′)."""
    digits = re.match(r"\d+", number)[0]
    inside = (r"\\dot " if "˙" in number else "") + digits + "′" * ("′" in number)
    return re.search(rf"\({inside}\)|tag\{{{inside}\}}", text) is not None


def test_every_link_of_the_page_of_claims_leads_to_a_file_and_every_equation_is_listed():
    text = PAGE.read_text()
    for target in re.findall(r"\]\((?!#)([^)#]+)\)", text):
        assert (PAGE.parent / target).exists(), target
    assert "#L" not in text  # an edit above would move the line
    for file in FILES:
        row = next((r for r in text.splitlines() if f"/{file.relative_to(ROOT)}) | (" in r), "")
        assert [n for n in stated(file) if f"({n})" not in row] == [], file


def test_the_page_of_claims_is_in_step_with_the_ledger_the_code_and_the_tests():
    verdicts = re.compile(r" \| (verified|refuted|failed|open) \|$", re.MULTILINE)
    now, kept = [verdicts.sub("", page) for page in (to_markdown(ROWS), PAGE.read_text())]
    assert kept == now, "run `bptt-oracle claims --markdown docs/ledger/claims.md`"
