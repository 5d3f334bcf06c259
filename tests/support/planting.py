"""Planting a mistake of `support.mutants` in a copy of the reference, and importing the copy."""

import importlib
import shutil
import sys
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from unittest import mock

from _pytest.assertion.rewrite import AssertionRewritingHook

import reference
from bptt_oracle.ledger.margins import Lines, computed

SOURCE = Path(reference.__file__).parent
CODE = {}  # by text


def place(mutant):
    """The position in its file at which a mutant's `old` begins.

    Raises AssertionError if the file does not contain it exactly once.
    """
    lines = (SOURCE / mutant.file).read_text(encoding="utf-8").splitlines(keepends=True)
    statements = [Lines(1, len(lines))]
    if mutant.equation:
        statements = computed(SOURCE / mutant.file)[mutant.equation]
    for first, last in statements:
        text = "".join(lines[first - 1 : last])
        if mutant.old in text:
            assert text.count(mutant.old) == 1, f"{mutant.file} has this twice: {mutant.old}"
            return len("".join(lines[: first - 1])) + text.index(mutant.old)
    raise AssertionError(f"{mutant.file} does not have this: {mutant.old}")


def broken_equation(mutant):
    """The equation that a mutant breaks: its own, or the only one of the statements it changes."""
    text = (SOURCE / mutant.file).read_text(encoding="utf-8")
    first = text.count("\n", 0, place(mutant)) + 1
    last = first + mutant.old.rstrip("\n").count("\n")
    hit = {
        number
        for number, statements in computed(SOURCE / mutant.file).items()
        for lines in statements
        if lines.first <= last and lines.last >= first
    }
    return mutant.equation or (hit.pop() if len(hit) == 1 else "")


def plant(mutant, folder):
    """Write a copy of the reference with this mistake to `folder`/reference."""
    shutil.copytree(SOURCE, folder / "reference", ignore=shutil.ignore_patterns("__pycache__"))
    text = (SOURCE / mutant.file).read_text(encoding="utf-8")
    at = place(mutant)
    text = text[:at] + mutant.new + text[at + len(mutant.old) :]
    (folder / "reference" / mutant.file).write_text(text, encoding="utf-8")


@contextmanager
def compiling_once():
    """Within the block every text is compiled once, although many copies have it, and pytest does
    not rewrite its assertions. A traceback shows the file of the first copy."""

    def source_to_code(_, text, path, **options):
        if text not in CODE:
            CODE[text] = compile(text, path, "exec", dont_inherit=True)
        return CODE[text]

    hooks = [(k, f) for k, f in enumerate(sys.meta_path) if isinstance(f, AssertionRewritingHook)]
    for _, hook in hooks:
        sys.meta_path.remove(hook)
    try:
        with mock.patch.object(SourceFileLoader, "source_to_code", source_to_code):
            yield
    finally:
        for k, hook in hooks:
            sys.meta_path.insert(k, hook)


@contextmanager
def imported_from(folder):
    """The package `reference` of `folder`, which replaces the imported one within the block."""
    before = {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "reference"}
    for name in before:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        with compiling_once():
            yield importlib.import_module("reference")
    finally:
        sys.path.remove(str(folder))
        for name in [n for n in sys.modules if n.partition(".")[0] == "reference"]:
            del sys.modules[name]
        sys.modules.update(before)
