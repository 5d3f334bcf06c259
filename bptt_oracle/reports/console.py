"""Standard output and standard error: exit statuses, consoles, progress, and failed writes."""

import errno
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ..processes.interrupt import temporary
from ..processes.stages import read_stages

AGREE, FAULT, COULD_NOT_RUN = 0, 1, 2
NARROWEST = 80  # columns of a terminal for which tables are laid out
PIPED = 160  # columns where standard output is not a terminal


@contextmanager
def writing_output() -> Iterator[None]:
    """Run a block that writes to standard output. If the write fails, exit with status 2, because
    the result was never shown. A closed pipe (`… | head`) is not reported."""
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        yield
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            notify(f"standard output cannot be written: {error.strerror}")
        if sys.stdout is not None:  # so that Python does not write the rest again when it exits
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(COULD_NOT_RUN) from None


def write_output(text: str) -> None:
    """Write a text to standard output, unchanged."""
    with writing_output():
        sys.stdout.write(text)


class _Console(Console):
    def print(self, *objects: Any, **options: Any) -> None:
        with writing_output():
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        raise  # to writing_output, because rich would exit with status 1


def new_console(**options: Any) -> Console:
    """A console on standard output. A piped table is 160 columns wide; a terminal narrower than 80
    columns breaks the lines itself. No string is read as markup or emoji, because names and
    messages are the user's; what has a style is a `Text`."""
    literal: dict[str, Any] = {"markup": False, "emoji": False}
    options = literal | options
    console = _Console(**options)
    width = max(console.width, NARROWEST) if console.is_terminal else PIPED
    return _Console(**({"width": width} | options))


class _Description(TextColumn):
    """The description of a task, and below it the stages that processes write to a folder."""

    def __init__(self, stages: Path | None) -> None:
        super().__init__("[progress.description]{task.description}")
        self._folder = stages

    def render(self, task: Task) -> Text:
        """The lines at this moment."""
        text = super().render(task)
        for stage in () if self._folder is None else read_stages(self._folder):
            text.append(f"\n  {stage}", style="none")
        return text


@contextmanager
def progress_with_stages(quiet: bool, long_items: bool) -> Iterator[tuple[Progress, Path | None]]:
    """A progress bar, and the folder for the stages of long items; None if they are not shown."""
    if not long_items or progress_bar(quiet).disable:
        with progress_bar(quiet) as progress:
            yield progress, None
        return
    folder = Path(tempfile.mkdtemp(prefix="bptt-oracle."))
    with temporary(folder), progress_bar(quiet, folder) as progress:
        yield progress, folder


def progress_bar(quiet: bool = False, stages: Path | None = None) -> Progress:
    """A progress bar on standard error that disappears at its end. Nothing is drawn if `quiet`, or
    if standard error is not a terminal. What the processes are doing that write to the folder
    `stages` stands below the description."""
    console = Console(stderr=True)
    return Progress(
        _Description(stages),
        BarColumn(40 if stages is None else 20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )


def print_verdict(sentence: str, status: int) -> None:
    """Print the last line of a command, coloured by the exit status."""
    style = {AGREE: "green", FAULT: "bold red"}.get(status, "yellow")
    new_console().print(sentence, style=style, soft_wrap=True, highlight=False)


def plural(n: int, noun: str) -> str:
    """A number and its noun: `1 fault`, `2 faults`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


LARGEST_R = 1e16  # 1 / u of float64: a larger R is not the size of an error, the truth is near 0


def format_R(R: float) -> str:
    """R with two digits after the point; a large one as a power of ten, or as larger than
    LARGEST_R."""
    if R > LARGEST_R and math.isfinite(R):
        return ">1e16"
    return f"{R:.2f}" if R < 1e5 or math.inf == R else f"{R:.0e}"


def notify(sentence: str) -> None:
    """Write one sentence to standard error, if it can be written."""
    with suppress(OSError):
        _write_error(sentence)


def write_summary(sentence: str) -> None:
    """Write the result of a command to standard error. If that fails, exit with status 2, because
    the result was never shown."""
    try:
        _write_error(sentence)
    except OSError:
        raise typer.Exit(COULD_NOT_RUN) from None


def _write_error(sentence: str) -> None:
    if sys.stderr is None:  # closed: print would write to standard output
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    print(f"bptt-oracle: {sentence}", file=sys.stderr, flush=True)
