"""The ledger: every claim has code, a page and tests, and every marker names a claim; verdicts
count all tests; every equation is listed with the file that computes it.
"""

import ast
import io
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from rich.console import Console

from bptt_oracle.__main__ import main
from bptt_oracle.ledger import outcomes, verdicts
from bptt_oracle.ledger.claims import (
    ROOT,
    claims,
    named_by_tests,
    places,
    print_claims,
    to_markdown,
)
from bptt_oracle.ledger.margins import computed, page_of, stated
from bptt_oracle.reports.verdicts import claims_verdict

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
def test_{0}(n, request):
    if f"{0} {{n}} absent" in os.environ["FAILING"]:
        request.node.user_properties.append(("inapplicable", True))
        pytest.skip("absent")
    assert f"{0} {{n}}" not in os.environ["FAILING"]
"""


@pytest.fixture
def made_up_tests(tmp_path, monkeypatch):
    """A function that runs two made-up tests of A1 and X7, and returns pytest's summary."""
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").touch()
    for name in ("one", "two"):
        (tmp_path / f"test_{name}.py").write_text(MADE_UP.format(name))
    both = ["test_one.py::test_one", "test_two.py::test_two"]
    monkeypatch.setattr("bptt_oracle.ledger.claims.named_by_tests", lambda files: {"A1": both})
    cache = tmp_path / ".pytest_cache" / "v" / outcomes.CACHE_KEY
    monkeypatch.setattr("bptt_oracle.ledger.claims.CACHE", cache)

    def run(*arguments, failing=""):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", *arguments]
        environment = os.environ | {"FAILING": failing, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        ).stdout

    return run


def verdict_of(claim):
    return {row.id: row.verdict for row in claims()}[claim]


@pytest.mark.slow
def test_a_claim_has_failed_until_the_very_test_passes(made_up_tests):
    for failing, arguments, verdict in [
        ("", ["test_one.py"], "1 of 2 ran"),
        ("one 2, two 1", [], "failed"),
        ("", ["test_two.py"], "failed"),  # one[2] did not run
        ("", ["test_one.py::test_one[1]"], "failed"),
        ("", ["--deselect=test_two.py"], "verified"),
    ]:
        made_up_tests(*arguments, failing=failing)
        assert verdict_of("A1") == verdict, arguments


def test_a_test_has_run_when_all_its_parametrisations_have(made_up_tests):
    assert verdict_of("A1") == "0 of 2 ran"
    for arguments, verdict in [
        (["test_one.py::test_one[1]"], "0 of 2 ran"),
        (["-k", "two or 2"], "2 of 2 ran"),
        (["test_two.py::test_two[1]"], "verified"),
    ]:
        made_up_tests(*arguments)
        assert verdict_of("A1") == verdict.replace("2 of 2 ran", "verified"), arguments
    assert verdict_of("X7").startswith("0 of 0"), "X7 has no test here"


def test_a_parametrisation_that_does_not_exist_on_the_machine_is_not_needed(made_up_tests):
    made_up_tests(failing="one 2 absent")
    assert verdict_of("A1") == "verified"
    made_up_tests(failing="one 1 absent one 2 absent")
    assert verdict_of("A1") == "1 of 2 ran", "nothing of test_one exists here"


@pytest.mark.slow
def test_the_summary_of_a_run_counts_the_tests_of_each_claim(made_up_tests):
    assert "\nclaims verified (2): A1 X7\n" in made_up_tests()
    assert "\nclaims not fully run (2): A1 1 of 2, X7 1 of 2\n" in made_up_tests("test_one.py")
    one = made_up_tests("test_one.py::test_one[1]", "test_two.py")
    assert "\nclaims not fully run (2): A1 1 of 2, X7 1 of 2\n" in one
    assert "\nclaims failed (2): A1 X7\n" in made_up_tests("test_one.py", failing="one 2")


HERE = outcomes.Provenance("abc1234", "2026-11-28", "2.13.0", "cpu")


def test_a_removed_test_has_not_failed():
    record = outcomes.Record(HERE, 1, {"1": "failed"})
    assert outcomes.verdict(["a::test"], {"a::test": record}, holds=True) == "failed"
    assert outcomes.verdict(["b::test"], {"a::test": record}, holds=True) == "0 of 1 ran"


def test_a_counterexample_that_passes_shows_that_the_statement_does_not_hold():
    passed = {"a::test": outcomes.Record(HERE, 1, {"": "passed"})}
    failed = {"a::test": outcomes.Record(HERE, 1, {"": "failed"})}
    assert outcomes.verdict(["a::test"], passed, holds=False) == "does not hold"
    assert outcomes.verdict(["a::test"], failed, holds=False) == "failed"


def test_runs_are_merged_by_parametrisation():
    whole = outcomes.Record(HERE, 2, {"1": "passed", "2": "failed"})
    part = outcomes.Record(HERE, 2, {"2": "passed"})
    later = part._replace(provenance=HERE._replace(commit="def5678"))
    grown = outcomes.Record(HERE, 3, {"2": "passed"})
    for old, new, expected in [
        (whole, part, {"1": "passed", "2": "passed"}),
        (part, whole, whole.outcomes),
        (whole, grown, grown.outcomes),
    ]:
        assert outcomes.merged({"t": old}, {"t": new})["t"].outcomes == expected
    mixed = outcomes.merged({"t": whole}, {"t": later})["t"].provenance
    assert mixed.commit == outcomes.SEVERAL_COMMITS
    assert outcomes.from_json(outcomes.to_json({"t": whole})) == {"t": whole}


@pytest.mark.parametrize("content", ["", "[1]", '{"t": [1]}', '{"t": 1}'])
def test_a_cache_that_is_not_ours_is_empty(content, tmp_path):
    (tmp_path / "tests").write_text(content)
    assert outcomes.load(tmp_path / "tests") == {}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A Git repository with one commit, which the ledger takes for the checkout."""
    (tmp_path / "pyproject.toml").touch()
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run(["git", *who, *command], cwd=tmp_path, check=True)
    monkeypatch.setattr("bptt_oracle.ledger.claims.ROOT", tmp_path)
    monkeypatch.setattr("bptt_oracle.ledger.claims.CACHE", tmp_path / "cache")
    monkeypatch.setattr("bptt_oracle.ledger.verdicts.FILE", tmp_path / "verdicts.json")
    tests = {row.id: [f"{row.id}::test"] for row in ROWS}
    monkeypatch.setattr("bptt_oracle.ledger.claims.named_by_tests", lambda files: tests)
    return tmp_path


def save_verdicts(repository, commit, ids):
    """Run `claims --save-verdicts` after the tests of some claims passed at a commit."""
    run = HERE._replace(commit=commit)
    records = {f"{name}::test": outcomes.Record(run, 1, {"": "passed"}) for name in ids}
    (repository / "cache").write_text(json.dumps(outcomes.to_json(records)))
    with pytest.raises(SystemExit) as stop:
        main(["claims", "--save-verdicts"])
    return stop.value.code


def test_saved_verdicts_are_those_of_the_tests_that_ran_at_this_commit(repository):
    commit = verdicts.commit_of(repository)
    assert re.fullmatch(r"[0-9a-f]{7,}", commit)
    assert save_verdicts(repository, commit, ["A1", "A3"]) == 2, "the others have not run"
    saved = verdicts.load()
    assert saved.provenance == HERE._replace(commit=commit)
    assert [saved.verdicts[name] for name in ("A1", "A2", "A3")] == [
        "verified",
        "0 of 1 ran",
        "does not hold",
    ]
    assert save_verdicts(repository, commit, [row.id for row in ROWS]) == 0


def test_verdicts_are_not_saved_for_changed_files_or_without_a_run(repository, capsys):
    commit = verdicts.commit_of(repository)
    assert save_verdicts(repository, "0000000", ["A1"]) == 2
    assert f"no test has run at commit {commit}; run `pytest`" in capsys.readouterr().err
    (repository / "pyproject.toml").write_text("# changed")
    assert verdicts.commit_of(repository) == commit + "+"
    assert save_verdicts(repository, commit + "+", ["A1"]) == 2
    assert f"files have been changed since commit {commit}; commit" in capsys.readouterr().err
    assert not (repository / "verdicts.json").exists()


def test_writing_the_page_succeeds_whatever_has_run_here(repository, monkeypatch):
    monkeypatch.setattr("bptt_oracle.ledger.claims.to_markdown", lambda rows: "the page")
    page = repository / "page.md"
    with pytest.raises(SystemExit) as stop:
        main(["claims", "--markdown", str(page)])
    assert (stop.value.code, page.read_text()) == (0, "the page")


def test_outside_of_git_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert verdicts.commit_of(tmp_path) == "unknown"


def test_claims_of_which_some_tests_did_not_run_are_counted_together(repository, capsys):
    save_verdicts(repository, verdicts.commit_of(repository), ["A1", "A3"])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"{len(ROWS)} claims: 1 verified, 1 does not hold, {len(ROWS) - 2} not fully run"


def test_a_failed_claim_has_another_status_than_one_that_did_not_run(repository, capsys):
    run = HERE._replace(commit=verdicts.commit_of(repository))
    for outcome, status in (("failed", 1), ("passed", 2)):
        records = {"A1::test": outcomes.Record(run, 1, {"": outcome})}
        (repository / "cache").write_text(json.dumps(outcomes.to_json(records)))
        with pytest.raises(SystemExit) as stop:
            main(["claims"])
        assert stop.value.code == status
        assert ("run `pytest`" in capsys.readouterr().err) == (status == 2)


def test_two_claims_that_do_not_hold_are_counted_in_the_plural():
    assert claims_verdict({"does not hold": 1}) == "1 claim: 1 does not hold"
    assert claims_verdict({"does not hold": 2}) == "2 claims: 2 do not hold as written"


def test_brackets_in_a_claim_are_printed():
    console = Console(file=io.StringIO(), width=200)
    print_claims(console, ROWS)
    assert "softmax cross-entropy is p − 1[y]" in console.file.getvalue()


def test_every_claim_that_does_not_hold_has_a_section_of_the_errata():
    errata = (ROOT / "docs" / "ledger" / "errata.md").read_text()
    assert [row.id for row in ROWS if not row.holds and f"## {row.id} " not in errata] == []


@pytest.mark.slow
def test_no_test_names_a_claim_that_is_not_in_the_ledger():
    found = named_by_tests((ROOT / "tests").rglob("test_*.py"))
    assert set(found) - {row.id for row in ROWS} == set()


@pytest.mark.parametrize("file", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda f: f.stem)
def test_no_test_of_a_claim_is_slow_so_that_pytest_alone_verifies_every_claim(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    whole = any("mark.slow" in ast.unparse(n) for n in tree.body if isinstance(n, ast.Assign))
    for function in ast.walk(tree):
        marks = [ast.unparse(mark) for mark in getattr(function, "decorator_list", ())]
        slow = whole or any("mark.slow" in mark for mark in marks)
        assert not (slow and any("mark.claim" in mark for mark in marks)), function.name


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


def test_the_page_of_claims_is_in_step_with_the_ledger_the_code_the_tests_and_the_verdicts():
    command = "bptt-oracle claims --markdown docs/ledger/claims.md"
    assert PAGE.read_text() == to_markdown(ROWS), f"run `{command}`"


def test_the_page_of_claims_shows_the_saved_verdicts_with_commit_date_and_torch(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("bptt_oracle.ledger.verdicts.FILE", tmp_path / "verdicts.json")
    verdicts.save({"t": outcomes.Record(HERE, 1, {})}, {"A1": "verified", "A3": "does not hold"})
    page = to_markdown(ROWS)
    assert "at commit abc1234 on 2026-11-28, with torch 2.13.0 on cpu." in page
    for row in (r"A1 .*verified", r"A3 .*does not hold", r"A2 .*0 of \d+ ran"):
        assert re.search(rf"^\| {row} \|$", page, re.MULTILINE), row
