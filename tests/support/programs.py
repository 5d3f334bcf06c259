"""Programs that show a mistake, run in a process that is forked from one that has torch."""

import ast
import io
import runpy
import signal
import sys
from contextlib import redirect_stdout

from bptt_oracle.processes.workers import run_isolated

LONGEST = 300


def run_program(file):
    """The exit status and what the program printed. An exception, such as that the two evaluations
    differ, is raised; a program that takes longer than LONGEST seconds is ended, and Crash raised.
    """
    return run_isolated(_run, str(file))


def _run(file):
    if hasattr(signal, "alarm"):
        signal.alarm(LONGEST)
    printed = io.StringIO()
    sys.argv = [file]
    with redirect_stdout(printed):
        try:
            runpy.run_path(file, run_name="__main__")
        except SystemExit as end:
            return end.code or 0, printed.getvalue()
    return 0, printed.getvalue()


def imported_by(file):
    """The packages that a program imports, without those of the standard library."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = {
        (getattr(node, "module", None) or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    return found - sys.stdlib_module_names
