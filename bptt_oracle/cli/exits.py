"""Ending a command that cannot run, or that Ctrl-C has stopped."""

from typing import NoReturn

import typer

from ..reports.console import COULD_NOT_RUN, notify
from .failures import INTERRUPTED


def stop(sentence: str) -> NoReturn:
    """Report on standard error why the command cannot run, and exit with status 2."""
    notify(sentence)
    raise typer.Exit(COULD_NOT_RUN)


def stop_interrupted(consequence: str = "the same command continues from here") -> NoReturn:
    """Report on standard error what Ctrl-C has left, and exit with status 130."""
    notify(f"stopped; {consequence}")
    raise typer.Exit(INTERRUPTED)
