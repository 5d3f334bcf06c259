"""The ledger: every claim, the code that computes it, the tests that hold it, the last verdict.

Tests name the rows they hold with `@pytest.mark.claim("B8")`; pytest's cache has of each row that
was run those of its tests that failed when they last ran. A row's code is a list of files, of the
reference where no folder is named, each followed by equations, "rnn.py (2′)-(1′)", or by what is
defined there, "loss.py shift".
"""

import ast
import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from .margins import NUMBER, computed, page_of, stated

ROOT = Path(__file__).parents[2]
LEDGER = Path(__file__).with_name("ledger.toml")
FAILURES = ROOT / ".pytest_cache" / "v" / "bptt-oracle" / "failures"


class Claim(NamedTuple):
    """One row. Where it does not hold as its source states it, `text` goes on to what is true."""

    id: str
    holds: bool
    sources: list[str]
    text: str
    code: str
    page: str
    tests: list[str]
    verdict: str  # verified, refuted, failed; open where no run has told


def claims() -> list[Claim]:
    """All rows, each with the tests that name it."""
    found = named_by_tests((ROOT / "tests").rglob("test_*.py"))
    failures = _last_failures()
    rows = []
    for row in tomllib.loads(LEDGER.read_text(encoding="utf-8"))["claim"]:
        tests = found.get(row["id"], [])
        verdict = "verified" if row["holds"] else "refuted"
        if row["id"] not in failures:
            verdict = "open"
        elif any(_function(name) in tests for name in failures[row["id"]]):
            verdict = "failed"
        rows.append(Claim(**row, tests=tests, verdict=verdict))
    return rows


def _function(name: str) -> str:
    """file::function of a test as pytest names it; one that is gone has not failed."""
    return name.partition("[")[0]


def _from_root(file: Path) -> str:
    return file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else file.name


def named_by_tests(files: Iterable[Path]) -> dict[str, list[str]]:
    """The tests that name each row, as file::function."""
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


def _last_failures() -> dict[str, list[str]]:
    """The tests that failed when they last ran, by row; no row where none has run."""
    try:
        failures: dict[str, list[str]] = json.loads(FAILURES.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return failures if isinstance(failures, dict) else {}


def print_claims(console: Console, rows: list[Claim]) -> None:
    """The ledger as a table."""
    table = Table("id", "claim", "code", "tests", "last verdict")
    style = {"verified": "green", "refuted": "cyan", "failed": "bold red", "open": "yellow"}
    for row in rows:
        mark = "" if row.holds else "✗ "
        word = f"[{style[row.verdict]}]{row.verdict}[/]"
        table.add_row(row.id, mark + row.text, row.code, str(len(row.tests)), word)
    console.print(table)
    counts = {word: sum(row.verdict == word for row in rows) for word in style}
    console.print(", ".join(f"{n} {word}" for word, n in counts.items()))
    if counts["open"]:
        console.print("open rows have not been run here: run `pytest`")


def to_markdown(rows: list[Claim]) -> str:
    """The ledger as a page, each row linked to its derivation, its code and its tests."""
    lines = [
        "# Claims",
        "",
        "Every claim of the two source documents, and what became of it. ✗ marks a statement",
        "that does not hold as written: its tests are counterexamples, and the",
        "[errata](errata.md) say what is true instead. Below,",
        "[every equation](#every-equation) and the file that computes it. This page is written by",
        "`bptt-oracle claims --markdown docs/ledger/claims.md`.",
        "",
        "| id | claim | derivation | code | tests | last verdict |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        code = ", ".join(_linked(part) for part in row.code.split(", "))
        tests = "<br>".join(f"[{t.split('::')[1]}](../../{t.split('::')[0]})" for t in row.tests)
        mark = "" if row.holds else "✗ "
        page = f"[{row.page}](../{row.page}.md)"
        lines.append(f"| {row.id} | {mark}{row.text} | {page} | {code} | {tests} | {row.verdict} |")
    return "\n".join([*lines, *_every_equation()]) + "\n"


def places(code: str) -> tuple[Path, dict[str, int]]:
    """The file that a part of a row's code names, and the line of each equation or definition.

    Raises KeyError for what is not there.
    """
    name, _, rest = code.partition(" ")
    file = ROOT / (name if name.startswith("bptt_oracle") else f"reference/{name}")
    found: dict[str, int] = {}
    for word in rest.split():
        if not word.startswith("("):
            found[word] = _definitions(file)[word]
            continue
        ends = re.findall(NUMBER, word)
        lines, order = computed(file), list(stated(file))
        first, last = [order.index(n) if n in order else -1 for n in (ends[0], ends[-1])]
        for number in order[first : last + 1] if 0 <= first <= last else ends:
            found[f"({number})"] = lines[number][0].first
    return file, found


def _definitions(file: Path) -> dict[str, int]:
    """The line where each function or class of a file begins."""
    kinds = ast.FunctionDef | ast.ClassDef
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return {node.name: node.lineno for node in body if isinstance(node, kinds)}


def _linked(code: str) -> str:
    """A link to a file, and one to the line of each equation or definition in it."""
    file, lines = places(code)
    path = f"../../{file.relative_to(ROOT)}"
    name = code.partition(" ")[0]
    return " ".join([f"[{name}]({path})", *lines])


def _every_equation() -> list[str]:
    """A table: each file of the reference, its page, and all its equations linked to their code."""
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
