"""Standard output and standard error: consoles, progress, and what a failed write means."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

AGREE, FAULT, COULD_NOT_RUN = 0, 1, 2


@contextmanager
def shown() -> Iterator[None]:
    """Around what is written to standard output: where it does not arrive, nobody has seen a
    fault, and the status is 2. Who reads no further is told nothing."""
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        yield
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            say(f"standard output cannot be written: {error.strerror}")
        if sys.stdout is not None:  # what is left unwritten is not tried again at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(COULD_NOT_RUN) from None


def show(text: str) -> None:
    """A text on standard output, as it is."""
    with shown():
        sys.stdout.write(text)


class _Console(Console):
    def print(self, *objects: Any, **options: Any) -> None:
        with shown():
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        raise  # on to shown: rich would end with the status 1


def new_console(**options: Any) -> Console:
    """A console that does not cut lines when its output is piped, or its terminal narrow, which
    breaks them itself."""
    console = _Console(**options)
    width = max(console.width, 80) if console.is_terminal else 160
    return _Console(**({"width": width} | options))


def progress_bar() -> Progress:
    """A bar on standard error, gone when done, none where that is no terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def plural(n: int, what: str) -> str:
    """So many of them, one in the singular."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def say(sentence: str) -> None:
    """A sentence on standard error."""
    with suppress(OSError):  # what cannot be told is no fault either
        print(f"bptt-oracle: {sentence}", file=sys.stderr)
