"""The state of a hunt, an SQLite database: what was found, and how far each seed has come.

    finds   one row for each cause, with the smallest program, its outcome and its text
    runs    one row for each version of torch and seed: the next trial, seconds, and counts

The application id in the header says that a file is the state of a hunt; no other file is written.
"""

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..processes.failures import CommandError
from .programs.fields import Cause, Program, matches
from .programs.subject import SYMPTOMS, Outcome

APPLICATION_ID = int.from_bytes(b"bpth")
VERSION = 1
TABLES = (
    "CREATE TABLE finds (subject TEXT NOT NULL, cause TEXT NOT NULL, symptom TEXT NOT NULL, "
    "tensor TEXT NOT NULL, R REAL NOT NULL, detail TEXT NOT NULL, program TEXT NOT NULL, "
    "source TEXT NOT NULL, torch TEXT NOT NULL, seed INTEGER NOT NULL, trial INTEGER NOT NULL, "
    "met INTEGER NOT NULL, PRIMARY KEY (torch, subject, cause, symptom, tensor))",
    "CREATE TABLE runs (torch TEXT NOT NULL, seed INTEGER NOT NULL, next INTEGER NOT NULL, "
    "seconds REAL NOT NULL, counts TEXT NOT NULL, PRIMARY KEY (torch, seed))",
)


class Find(NamedTuple):
    """A cause, and the smallest program that showed it first."""

    subject: str
    cause: Cause
    outcome: Outcome
    program: Program
    source: str
    torch: str = ""
    seed: int = 0
    trial: int = 0
    met: int = 1

    @property
    def severity(self) -> int:
        """The place of its symptom in SYMPTOMS."""
        return SYMPTOMS.index(self.outcome.symptom)

    def explains(self, subject: str, program: Program) -> bool:
        """Whether a program has this cause."""
        return subject == self.subject and matches(self.cause, program)


class Progress(NamedTuple):
    """How far the trials of a seed have come."""

    next: int
    seconds: float
    counts: Counter[str]  # the caller's own


@contextmanager
def open_state(file: Path | None) -> Iterator[sqlite3.Connection]:
    """The state in a file, made if there is none; in memory without a file. Raises CommandError for
    a file that is something else."""
    if file is not None and file.exists() and file.stat().st_size:
        with file.open("rb") as content:
            head = content.read(72)
        if head[:15] != b"SQLite format 3" or head[68:72] != b"bpth":
            raise CommandError(
                f"{file} is not the state of a hunt and was left unchanged; choose another name"
            )
    connection = sqlite3.connect(":memory:" if file is None else file, timeout=60)
    try:
        _prepare(connection, file)
        yield connection
    except sqlite3.DatabaseError as error:
        raise CommandError(f"{file} cannot be used as the state of a hunt: {error}") from None
    finally:
        connection.close()


def _prepare(connection: sqlite3.Connection, file: Path | None) -> None:
    """Make the tables of a new state; reject that of another version."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            for statement in TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        raise CommandError(
            f"{file} has version {version} of the state, and this program reads version {VERSION}; "
            "choose another name"
        )


def read_finds(connection: sqlite3.Connection, torch: str) -> list[Find]:
    """What was found with a version of torch."""
    rows = connection.execute(
        "SELECT subject, cause, symptom, tensor, R, detail, program, source, torch, seed, trial, "
        "met FROM finds WHERE torch = ? ORDER BY rowid",
        (torch,),
    )
    return [
        Find(s, json.loads(cause), Outcome(*outcome), json.loads(program), *rest)
        for s, cause, *outcome, program, source, version, seed, trial, met in rows
        for rest in [(source, version, seed, trial, met)]
    ]


def add_find(connection: sqlite3.Connection, find: Find) -> None:
    """Keep a find; one that another process has kept in the meantime stays."""
    outcome = find.outcome
    R = outcome.R if math.isfinite(outcome.R) else 9e99
    with connection:
        connection.execute(
            "INSERT OR IGNORE INTO finds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(find.subject, _text(find.cause), outcome.symptom, outcome.tensor, R),
                *(outcome.detail, _text(find.program), find.source, find.torch),
                *(find.seed, find.trial, find.met),
            ),
        )


def widen(connection: sqlite3.Connection, find: Find, cause: Cause) -> None:
    """Give a find a cause that explains more programs."""
    with connection:
        connection.execute(
            "UPDATE OR IGNORE finds SET cause = ?, met = met + 1 WHERE torch = ? AND subject = ? "
            "AND cause = ? AND symptom = ? AND tensor = ?",
            (
                *(_text(cause), find.torch, find.subject, _text(find.cause)),
                *(find.outcome.symptom, find.outcome.tensor),
            ),
        )


def count_met(connection: sqlite3.Connection, find: Find) -> None:
    """Count a program that a find explains."""
    with connection:
        connection.execute(
            "UPDATE finds SET met = met + 1 WHERE torch = ? AND subject = ? AND cause = ?",
            (find.torch, find.subject, _text(find.cause)),
        )


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def read_progress(connection: sqlite3.Connection, torch: str, seed: int) -> Progress:
    """How far a seed has come with a version of torch."""
    row = connection.execute(
        "SELECT next, seconds, counts FROM runs WHERE torch = ? AND seed = ?", (torch, seed)
    ).fetchone()
    next_trial, seconds, counts = row or (0, 0.0, "{}")
    return Progress(next_trial, seconds, Counter(json.loads(counts)))


def save_progress(
    connection: sqlite3.Connection, torch: str, seed: int, progress: Progress
) -> None:
    """Keep how far a seed has come."""
    row = (torch, seed, progress.next, progress.seconds, json.dumps(progress.counts))
    with connection:
        connection.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?)", row)
