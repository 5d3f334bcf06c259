"""The journal of a run that is being recorded: a line for each case that is done, with a checksum
before it, after a head that says what run it is.

A run that starts where a journal lies, of the same plan in the same environment, reads it, drops
what a kill has left half-written, and goes on. A journal of another run stays as it is.
"""

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .files import finite
from .run_file import JOURNAL, BadRun, Row, digest, row_as_json, row_from_json, unlike

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_LONGEST_HEAD = 2**20  # bytes; what is no journal need not have lines


class Done(NamedTuple):
    """One case: its rows, and the tensors kept by `name_of`."""

    case: str
    rows: list[Row]
    values: dict[str, np.ndarray]


@contextmanager
def alone(journal: Path) -> Iterator[None]:
    """The journal for this process alone, where the system has locks; one goes with whoever holds
    it, however that ends. Raises BadRun where another has it."""
    with told(journal):
        if journal.exists() and not journal.is_file():
            raise BadRun(f"{journal}, for the cases that are done, is no file; name another output")
        lines = journal.open("ab")
    with lines:
        if fcntl is None:
            lines.close()  # what is open cannot be removed there
            yield
            return
        held = True
        try:
            fcntl.flock(lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.path.samestat(os.fstat(lines.fileno()), journal.stat())
        except (BlockingIOError, FileNotFoundError):  # the other runs, or has just ended
            held = False
        except OSError:
            pass  # a file system without locks
        if not held:
            raise BadRun(
                f"{journal} is being written by another record; wait for its end, "
                "or name another file"
            )
        try:
            yield
        finally:
            if not os.fstat(lines.fileno()).st_size:  # made here, and of no use
                journal.unlink(missing_ok=True)


@contextmanager
def told(file: Path) -> Iterator[None]:
    """What the system says of a file is part of a sentence. Raises BadRun."""
    try:
        yield
    except OSError as error:
        raise BadRun(
            f"{file} cannot be written: {error.strerror}; make room, or name an output elsewhere"
        ) from None


def others(found: dict[str, Any], head: dict[str, Any]) -> str:
    """What was recorded there and is not to be recorded now; empty where it is the same."""
    parts = []
    for name in ("plan", "environment"):
        if different := unlike(found.get(name, {}), head[name]):
            what = "; ".join(f"{n} {a}, not {b}" for n, a, b in different)
            parts.append(f"another {name} ({what})")
    return " and ".join(parts)


def line(done: Done) -> str:
    """A line of the journal."""
    values = {
        name: [value.dtype.str, value.shape, base64.b64encode(value.tobytes()).decode()]
        for name, value in done.values.items()
    }
    text = json.dumps(
        {"case": done.case, "rows": [row_as_json(row) for row in done.rows], "values": values}
    )
    return f"{digest(text.encode())} {text}\n"


def resume(journal: Path, head: dict[str, Any]) -> Iterator[Done]:
    """The cases in a journal that starts with that head; afterwards it ends after the last of
    them, or is a new one. Raises BadRun for what is no journal, or one of another run."""
    said = json.dumps(finite(head)).encode()
    first = f"{digest(said)} ".encode() + said + b"\n"
    end = 0
    if journal.exists():
        with journal.open("rb") as lines:
            start = lines.readline(max(len(first), _LONGEST_HEAD))
            if start != first and not first.startswith(start):  # so far a kill let it come
                _keep_other_journal(journal, start, head)
            if start == first:
                end = len(first)
                for line in lines:
                    checksum, _, text = line.rstrip(b"\n").partition(b" ")
                    if checksum.decode(errors="replace") != digest(text) or line[-1:] != b"\n":
                        break
                    end += len(line)
                    yield _done(json.loads(text))
    with journal.open("r+b" if end else "wb") as lines:
        lines.truncate(end)
        if not end:
            lines.write(first)


def _keep_other_journal(journal: Path, start: bytes, head: dict[str, Any]) -> None:
    """Raises BadRun unless the first line is the damaged head of a journal, or that of other
    code."""
    checksum, _, text = start.rstrip(b"\n").partition(b" ")
    if not JOURNAL.match(start):
        raise BadRun(f"{journal} is no journal of a run; remove it, or name another output")
    if checksum.decode() != digest(text):
        return
    if another := others(json.loads(text), head):
        raise BadRun(
            f"{journal} is of an unfinished run of {another}; go on with its own command, "
            "or remove the file"
        )


def _done(line: dict[str, Any]) -> Done:
    values = {
        name: np.frombuffer(base64.b64decode(text), dtype).reshape(shape)
        for name, (dtype, shape, text) in line["values"].items()
    }
    return Done(line["case"], [row_from_json(row) for row in line["rows"]], values)
