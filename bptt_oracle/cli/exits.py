"""Ending a command that cannot run."""

from typing import NoReturn

import typer

from ..reports.console import COULD_NOT_RUN, notify


def stop(sentence: str) -> NoReturn:
    """Report on standard error why the command cannot run, and exit with status 2."""
    notify(sentence)
    raise typer.Exit(COULD_NOT_RUN)
