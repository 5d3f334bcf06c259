"""What a process is doing with a long item, in a file that another process reads to show it.

A file, and neither a pipe nor a queue, because a process that is killed leaves no lock in it. The
first text is written some seconds after the start, so that short items write nothing.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Output = TypeVar("Output")

_FIRST = 2.0  # seconds from the start of an item to the first text
_PAUSE = 0.5  # seconds between two texts
LONGEST = 200  # characters of a text


class Stages:
    """The stages of an item, one after the other: a title, and a number of evaluations."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._due = time.monotonic() + _FIRST
        self._title, self._number, self._total = "", 0, 0

    def begin(self, title: str, evaluations: int) -> None:
        """A stage begins that has so many evaluations: of the truth, and then of the noise."""
        self._title, self._number, self._total = title, 0, evaluations

    def add(self, evaluations: int) -> None:
        """The stage has more evaluations than were known at its beginning."""
        self._total += evaluations

    def next(self) -> str:
        """The name of the evaluation that begins."""
        self._number += 1
        if self._number == 1:
            return f"{self._title} truth"
        return f"{self._title} noise {self._number - 1} of {self._total - 1}"

    def show(self, text: str, at_once: bool = False) -> None:
        """Write a text, unless it is too early; `at_once` if it stays for long."""
        now = time.monotonic()
        if now < self._due and not (at_once and self._file.exists()):
            return
        self._due = now + _PAUSE
        with suppress(OSError):  # such as a full disk: nothing is shown then
            aside = self._file.with_suffix(".aside")
            aside.write_text(text, encoding="utf-8")
            os.replace(aside, self._file)


_stages: Stages | None = None  # of the item that this process works on


def current_stages() -> Stages | None:
    """Those of the item that this process works on, if they are shown."""
    return _stages


def work_in_stages(folder: Path | None, work: Callable[[Item], Output], item: Item) -> Output:
    """`work(item)`, whose stages are written to a file of this process in the folder, if any."""
    if folder is None:
        return work(item)
    with _written_to(folder / str(os.getpid())):
        return work(item)


@contextmanager
def _written_to(file: Path) -> Iterator[None]:
    global _stages
    _stages = Stages(file)
    try:
        yield
    finally:
        _stages = None
        with suppress(OSError):
            file.unlink(missing_ok=True)


def read_stages(folder: Path) -> list[str]:
    """What the processes that write to the folder are doing."""
    found = []
    for file in sorted(folder.iterdir()):
        if file.name.isdecimal():
            with suppress(OSError, ValueError):  # its process has just finished
                found.append(file.read_text(encoding="utf-8")[:LONGEST])
    return found
