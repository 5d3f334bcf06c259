"""The ledger: every claim, the code that computes it, the tests that check it, and its verdict.

A test names the rows that it checks with `@pytest.mark.claim("B8")`. The code of a row is a list of
files, relative to `reference/` unless they begin with `bptt_oracle`. Each file is followed by
equations, "cells/rnn.py (2′)-(1′)", or by names that it defines, "models/loss.py shift".
"""

import ast
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import outcomes, verdicts
from .margins import NUMBER, computed, page_of, stated

ROOT = Path(__file__).parents[2]
LEDGER = Path(__file__).with_name("ledger.toml")
CACHE = ROOT / ".pytest_cache" / "v" / outcomes.CACHE_KEY


class Claim(NamedTuple):
    """One row. The text of a claim that does not hold continues with what is true instead."""

    id: str
    holds: bool
    sources: list[str]
    text: str
    code: str
    page: str
    tests: list[str]  # "file::function"
    verdict: str  # of the tests' last runs on this machine, as `outcomes.verdict` words it


def ids() -> list[str]:
    """The id of every row."""
    return [row["id"] for row in _rows()]


def claims(records: outcomes.Records | None = None) -> list[Claim]:
    """All rows, with the tests that name each, and its verdict by `records`.

    Without `records`, those of pytest's cache are used.
    """
    if records is None:
        records = outcomes.load(CACHE)
    tests_of = named_by_tests((ROOT / "tests").rglob("test_*.py"))
    rows = []
    for row in _rows():
        tests = tests_of.get(row["id"], [])
        verdict = outcomes.verdict(tests, records, row["holds"])
        rows.append(Claim(**row, tests=tests, verdict=verdict))
    return rows


def _rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = tomllib.loads(LEDGER.read_text(encoding="utf-8"))["claim"]
    return rows


def save_verdicts() -> None:
    """Save the verdicts of the tests that last ran at the commit checked out here.

    Raises ValueError if files have been changed since that commit, or if no test ran there.
    """
    records = verdicts.at_commit(outcomes.load(CACHE), verdicts.commit_of(ROOT))
    verdicts.save(records, {row.id: row.verdict for row in claims(records)})


def _from_root(file: Path) -> str:
    return file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else file.name


def named_by_tests(files: Iterable[Path]) -> dict[str, list[str]]:
    """The tests that name each row, as "file::function"."""
    found: dict[str, list[str]] = {}
    for file in sorted(files):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                for name in _marks(function):
                    found.setdefault(name, []).append(f"{_from_root(file)}::{function.name}")
    return found


def _marks(function: ast.FunctionDef) -> list[str]:
    """The rows that a test's claim markers name."""
    return [
        argument.value
        for mark in function.decorator_list
        if isinstance(mark, ast.Call) and ast.unparse(mark.func).endswith("mark.claim")
        for argument in mark.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]


def print_claims(console: Console, rows: list[Claim]) -> None:
    """Print the ledger as a table."""
    table = Table("id", "claim", "code", "tests", "verdict")
    for row in rows:
        text = Text(_mark(row) + row.text)  # Text, because rich takes [y] in a string for markup
        verdict = Text(row.verdict, _STYLES.get(row.verdict, "yellow"))
        table.add_row(row.id, text, Text(row.code), str(len(row.tests)), verdict)
    console.print(table)


def verdict_counts(rows: list[Claim]) -> dict[str, int]:
    """How many rows have each verdict; those of which only some tests ran are one entry."""
    counts = {word: sum(row.verdict == word for row in rows) for word in _STYLES}
    return counts | {"not fully run": len(rows) - sum(counts.values())}


def failed(rows: list[Claim]) -> bool:
    """Whether a test of a claim failed."""
    return any(row.verdict == outcomes.FAILED for row in rows)


def finished(rows: list[Claim]) -> bool:
    """Whether all tests of every claim ran and passed."""
    return all(row.verdict in (outcomes.VERIFIED, outcomes.DOES_NOT_HOLD) for row in rows)


_STYLES = {
    outcomes.VERIFIED: "green",
    outcomes.DOES_NOT_HOLD: "cyan",
    outcomes.FAILED: "bold red",
}


def _mark(row: Claim) -> str:
    return "" if row.holds else "✗ "


def to_markdown(rows: list[Claim]) -> str:
    """The ledger as a page: each row with its derivation, code and tests, and its saved verdict."""
    saved = verdicts.load()
    lines = [
        "# Claims",
        "",
        "Every claim of the two source documents, with the code that computes it and the tests",
        "that check it. ✗ marks a statement that does not hold as written: its tests are",
        "counterexamples, and the [errata](errata.md) state what is true instead. A list of",
        "[every equation](#every-equation) and the file that computes it follows. This page is",
        "written by `bptt-oracle claims --markdown docs/ledger/claims.md`.",
        "",
        _provenance(saved.provenance),
        "A claim is *verified* when all its tests ran and passed; a statement *does not hold* when",
        "all its counterexamples did. `bptt-oracle claims` prints the verdicts of your last run.",
        "",
        "| id | claim | derivation | code | tests | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        code = ", ".join(_linked(part) for part in row.code.split(", "))
        tests = "<br>".join(f"[{t.split('::')[1]}](../../{t.split('::')[0]})" for t in row.tests)
        page = f"[{row.page}](../{row.page}.md)"
        verdict = saved.verdicts.get(row.id, f"0 of {len(row.tests)} ran")
        text = _mark(row) + row.text
        lines.append(f"| {row.id} | {text} | {page} | {code} | {tests} | {verdict} |")
    return "\n".join([*lines, *_every_equation()]) + "\n"


def _provenance(run: outcomes.Provenance | None) -> str:
    if run is None:
        return "No verdicts have been saved yet (`bptt-oracle claims --save-verdicts`)."
    commit, date, torch, devices = run
    return f"Verdicts at commit {commit} on {date}, with torch {torch} on {devices}."


def places(code: str) -> tuple[Path, dict[str, int]]:
    """The file that a part of a row's code names, and the line of each equation or definition.

    Raises KeyError for an equation or definition that the file does not have.
    """
    name, _, rest = code.partition(" ")
    file = ROOT / (name if name.startswith("bptt_oracle") else f"reference/{name}")
    found: dict[str, int] = {}
    for word in rest.split():
        if not word.startswith("("):
            definitions = _definitions(file)
            if word not in definitions:
                raise KeyError(f"{name} defines no function or class {word}")
            found[word] = definitions[word]
            continue
        ends = re.findall(NUMBER, word)
        lines, order = computed(file), list(stated(file))
        first, last = [order.index(n) if n in order else -1 for n in (ends[0], ends[-1])]
        for number in order[first : last + 1] if 0 <= first <= last else ends:
            if number not in lines:
                raise KeyError(f"{name} has no line of code with ({number}) in the margin")
            found[f"({number})"] = lines[number][0].first
    return file, found


def _definitions(file: Path) -> dict[str, int]:
    """The line where each function or class of a file begins."""
    kinds = ast.FunctionDef | ast.ClassDef
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return {node.name: node.lineno for node in body if isinstance(node, kinds)}


def _linked(code: str) -> str:
    """A link to a file, followed by its equations or definitions in words.

    A line number in the link would be wrong after the next edit.
    """
    file, lines = places(code)
    path = f"../../{file.relative_to(ROOT)}"
    name = code.partition(" ")[0]
    return " ".join([f"[{name}]({path})", *lines])


def _every_equation() -> list[str]:
    """A table of the files of the reference that have equations: page, file, equation numbers."""
    lines = ["", "## Every equation", "", "| derivation | code | equations |", "|---|---|---|"]
    for file in sorted((ROOT / "reference").rglob("*.py")):
        path = f"../../{file.relative_to(ROOT)}"
        numbers = [f"({n})" for n in stated(file)]
        if numbers:
            page = page_of(file)
            lines.append(
                f"| [{page}](../{page}.md) | [{file.name}]({path}) | {' '.join(numbers)} |"
            )
    return lines
