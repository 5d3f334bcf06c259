"""The numbered equations of a file of the reference: where each is stated, and where computed.

A docstring states (1), (1′), and where a line is dotted (1˙); the margin of the code bears the same
numbers. The code of an equation is every statement with its number in the margin. The last line of
the docstring names the page that derives them. A file is read once.
"""

import ast
import io
import re
import tokenize
from functools import cache
from pathlib import Path
from typing import NamedTuple

NUMBER = r"\((\d+′?˙?)\)"
STATED = re.compile(rf"(?:^|  ) *{NUMBER} ")
MARGIN = re.compile(rf"# +((?:{NUMBER}[ ,–…]*)+)")


class Lines(NamedTuple):
    """The first and the last line of a statement, counted from 1."""

    first: int
    last: int


@cache
def stated(file: Path) -> dict[str, int]:
    """The line of the module's docstring that states each equation, in the docstring's order."""
    text = file.read_text(encoding="utf-8")
    body = ast.parse(text).body
    if not body or not isinstance(body[0], ast.Expr):
        return {}
    lines = text.splitlines()[: body[0].end_lineno]
    return {n: at for at, line in enumerate(lines, 1) for n in STATED.findall(line)}


def page_of(file: Path) -> str:
    """The page of docs/ that derives a file, as the file's docstring names it; "" where none."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    page = re.search(r"^Page: docs/([\w/]+)\.md$", docstring, re.MULTILINE)
    return page[1] if page else ""


@cache
def computed(file: Path) -> dict[str, list[Lines]]:
    """The statements that bear each number in the margin, from top to bottom."""
    text = file.read_text(encoding="utf-8")
    statements = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]
    found: dict[str, list[Lines]] = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        margin = token.type == tokenize.COMMENT and MARGIN.match(token.string)
        if margin:
            lines = _statement(statements, token.start[0])
            for number in re.findall(NUMBER, margin[1]):
                found.setdefault(number, []).append(lines)
    return found


def _statement(statements: list[ast.stmt], line: int) -> Lines:
    """The innermost statement over a line; of one that holds others the line alone."""
    around = [s for s in statements if s.lineno <= line <= (s.end_lineno or s.lineno)]
    if not around:
        return Lines(line, line)
    inner = max(around, key=lambda s: s.lineno)
    if hasattr(inner, "body"):
        return Lines(line, line)
    return Lines(inner.lineno, inner.end_lineno or line)
