"""The journal of a run that is being recorded: a head that identifies the run, then one line for
each finished case. Every line starts with the checksum of the rest.

A record with the same code, plan and environment continues an existing journal, without the line
that a kill may have left incomplete. A journal with another plan or environment is never changed.
A journal of other code with the same plan and environment is started anew, because its results
cannot be continued.
"""

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..processes.failures import first_line
from .files import printable, replace_nonfinite
from .run_file import (
    JOURNAL,
    LARGEST_VALUES,
    BadRun,
    Row,
    differences,
    digest,
    row_from_json,
    row_to_json,
)

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_LONGEST_HEAD = 2**20  # bytes; a file that is not a journal may have no line breaks
_LONGEST_LINE = 2 * LARGEST_VALUES  # the values of one case, in base 64, and its rows


class FinishedCase(NamedTuple):
    """One case: its rows, and the recorded tensors by `tensor_key`."""

    case: str
    rows: list[Row]
    values: dict[str, np.ndarray]


@contextmanager
def exclusive_lock(journal: Path) -> Iterator[None]:
    """Open the journal and lock it for this process, on systems that have locks. The system
    releases the lock when the process ends. An empty journal is deleted at the end. Raises BadRun
    if another process holds the lock, or if the file cannot be opened."""
    with write_errors_as_bad_run(journal):
        if journal.exists() and not journal.is_file():
            raise BadRun(
                f"{journal}, the journal of finished cases, is not a file; name another output"
            )
        file = journal.open("ab")
    with file:
        if fcntl is None:
            file.close()  # Windows cannot delete an open file
            yield
            return
        locked = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = os.path.samestat(os.fstat(file.fileno()), journal.stat())
        except (BlockingIOError, FileNotFoundError):  # the other process runs, or has just ended
            locked = False
        except OSError:
            pass  # a file system without locks
        if not locked:
            raise BadRun(
                f"{journal} is being written by another record; wait for its end, "
                "or name another file"
            )
        try:
            yield
        finally:
            if not os.fstat(file.fileno()).st_size:
                journal.unlink(missing_ok=True)


@contextmanager
def write_errors_as_bad_run(file: Path) -> Iterator[None]:
    """Raise an OSError of the block as a BadRun that names the file."""
    try:
        yield
    except OSError as error:
        raise BadRun(
            f"{file} cannot be written: {error.strerror}; make room, or name an output elsewhere"
        ) from None


def describe_mismatch(recorded: dict[str, Any], head: dict[str, Any]) -> str:
    """How the recorded plan and environment differ from those of `head`, for an error message;
    empty if they do not."""
    parts = []
    for name in ("plan", "environment"):
        if changes := differences(recorded.get(name, {}), head[name]):
            details = "; ".join(f"{n} {a}, not {b}" for n, a, b in changes)
            parts.append(f"another {name} ({details})")
    return " and ".join(parts)


def to_line(finished: FinishedCase) -> str:
    """A line of the journal."""
    values = {
        name: [value.dtype.str, value.shape, base64.b64encode(value.tobytes()).decode()]
        for name, value in finished.values.items()
    }
    rows = [row_to_json(row) for row in finished.rows]
    text = json.dumps({"case": finished.case, "rows": rows, "values": values})
    return f"{digest(text.encode())} {text}\n"


def resume(journal: Path, head: dict[str, Any]) -> Iterator[FinishedCase]:
    """Yield the cases of a journal that starts with this head. Then cut off what follows the last
    whole line, or start a new journal. Raises BadRun if the file is not a journal, or is one with
    another plan or environment, or has a line that no record has written."""
    text = json.dumps(replace_nonfinite(head)).encode()
    first = f"{digest(text)} ".encode() + text + b"\n"
    end = 0
    if journal.exists():
        with journal.open("rb") as lines:
            start = lines.readline(max(len(first), _LONGEST_HEAD))
            if start != first and not first.startswith(start):  # not cut off by a kill, either
                _protect_other_journal(journal, start, head)
            if start == first:
                end = len(first)
                while line := lines.readline(_LONGEST_LINE):
                    checksum, _, text = line.rstrip(b"\n").partition(b" ")
                    if checksum.decode(errors="replace") != digest(text) or line[-1:] != b"\n":
                        break
                    end += len(line)
                    yield _from_json(journal, text)
    with journal.open("r+b" if end else "wb") as lines:
        lines.truncate(end)
        if not end:
            lines.write(first)


def _protect_other_journal(journal: Path, start: bytes, head: dict[str, Any]) -> None:
    """Raise BadRun unless the first line is the damaged head of a journal, or the head of a
    journal of other code with the same plan and environment."""
    checksum, _, text = start.rstrip(b"\n").partition(b" ")
    if not JOURNAL.match(start):
        raise BadRun(f"{journal} is not the journal of a run; remove it, or name another output")
    if checksum.decode("ascii", "replace") != digest(text):
        return
    try:
        mismatch = describe_mismatch(json.loads(text), head)
    except Exception as error:  # any type, because the text is any JSON
        raise _not_written_by_record(journal, error) from None
    if mismatch:
        raise BadRun(
            f"{journal} belongs to an unfinished run of {mismatch}; continue that run with its own "
            "command, or remove the file"
        )


def _from_json(journal: Path, text: bytes) -> FinishedCase:
    try:
        line = json.loads(text)
        values = {
            name: np.frombuffer(base64.b64decode(text), dtype).reshape(shape)
            for name, (dtype, shape, text) in line["values"].items()
        }
        case, rows = str(line["case"]), [row_from_json(row) for row in line["rows"]]
    except MemoryError:
        raise
    except Exception as error:  # any type, because the text is any JSON
        raise _not_written_by_record(journal, error) from None
    return FinishedCase(case, rows, values)


def _not_written_by_record(journal: Path, error: Exception) -> BadRun:
    return BadRun(
        f"{journal} holds a line that record has not written ({printable(first_line(error))}); "
        "remove it, or name another output"
    )
