"""The tables of a run, an SQLite database, and how a result becomes a row of one.

    run        what holds for the whole run: code_digest, limit, environment and plan, in JSON
    cases      the finished cases, each with a checksum of all that is kept of it
    results    one row for each case, path and dtype
    kept       the values of the tensors of chosen cases, in parts of PART elements

In `results`, `names` has the names of the tensors, with spaces between them; `bits` has their
digests, 8 bytes each, and `ratios` their R, a float64 each (little-endian, NaN where the tensor is
ill-conditioned), in the order of the names. Every table is sorted by its key, so that two runs are
compared by one walk.

The application id in the header of the file tells a finished run from an unfinished one.
"""

import json
import math
import sqlite3
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .files import replace_nonfinite
from .row import BadRun, Row, TensorDigest, digest, format_value, reject_contradictions, rounded

FINISHED, UNFINISHED = (int.from_bytes(name) for name in (b"bpto", b"bptu"))
VERSION = 3  # in the header as the user version; 1 and 2 are JSON
PAGE_SIZE = 8192
LONGEST_HEAD = 2**20  # bytes of environment or plan
LONGEST = 2**16  # bytes of a row, and of any of its values
PART = 2**12  # elements
KEY = "case_id, path, dtype"
COLUMNS = f"{KEY}, verdict, R, tensor, place, kernel, seconds, note, masks, names, bits, ratios"
KEPT_COLUMNS = f"{KEY}, tensor, part, format, shape, content"
TABLES = {
    "cases": "case_id TEXT NOT NULL PRIMARY KEY, checksum TEXT NOT NULL",
    "kept": (
        "case_id TEXT NOT NULL, path TEXT NOT NULL, dtype TEXT NOT NULL, tensor TEXT NOT NULL, "
        "part INTEGER NOT NULL, format TEXT NOT NULL, shape TEXT NOT NULL, content BLOB NOT NULL, "
        f"PRIMARY KEY ({KEY}, tensor, part)"
    ),
    "results": (
        "case_id TEXT NOT NULL, path TEXT NOT NULL, dtype TEXT NOT NULL, verdict TEXT NOT NULL, "
        "R REAL NOT NULL, tensor TEXT NOT NULL, place TEXT NOT NULL, kernel TEXT NOT NULL, "
        "seconds REAL NOT NULL, note TEXT NOT NULL, masks TEXT NOT NULL, names TEXT NOT NULL, "
        f"bits BLOB NOT NULL, ratios BLOB NOT NULL, PRIMARY KEY ({KEY})"
    ),
    "run": "name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL",
}
STATEMENTS = {
    name: f"CREATE TABLE {name} ({columns}) WITHOUT ROWID" for name, columns in TABLES.items()
}
Record = tuple[Any, ...]  # the values of COLUMNS


class Head(NamedTuple):
    """What holds for a whole run."""

    code_digest: str  # of the code that recorded it
    limit: float  # R above it was a fault
    environment: dict[str, Any]
    plan: dict[str, Any]


class KeptTensor(NamedTuple):
    """The values of a tensor of one result."""

    path: str
    dtype: str  # of the case
    tensor: str
    value: np.ndarray


def create(connection: sqlite3.Connection, head: Head) -> None:
    """Make the tables anew. The connection is in no transaction."""
    connection.execute("BEGIN IMMEDIATE")
    for name, statement in STATEMENTS.items():
        connection.execute(f"DROP TABLE IF EXISTS {name}")
        connection.execute(statement)
    connection.executemany("INSERT INTO run VALUES (?, ?)", as_text(head).items())
    connection.execute(f"PRAGMA application_id = {UNFINISHED}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def as_text(head: Head) -> dict[str, str]:
    """The entries of the table `run`. Raises BadRun if one is too long."""
    entries = {name: json.dumps(replace_nonfinite(v)) for name, v in head._asdict().items()}
    for name, text in entries.items():
        if len(text) > LONGEST_HEAD - 100:
            raise BadRun(f"the {name} takes {len(text)} bytes, which is too long for a run")
    return entries


def has_schema(connection: sqlite3.Connection) -> bool:
    """Whether a database has these tables, and nothing else: no view, trigger or index."""
    query = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name LIMIT 9"
    expected = [("table", name, name, statement) for name, statement in STATEMENTS.items()]
    return connection.execute(query).fetchall() == expected


def read_head(connection: sqlite3.Connection) -> Head:
    """What a database says of the whole run. Raises ValueError."""
    entries = dict(connection.execute("SELECT name, value FROM run ORDER BY name LIMIT 9"))
    try:
        values = {name: json.loads(entries[name]) for name in Head._fields}
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ValueError("its table `run` is incomplete") from None
    head = Head(**values)
    reject_bad_head(head)
    return head


def reject_bad_head(head: Head) -> None:
    """Raise ValueError unless each entry is of its kind."""
    if not isinstance(head.code_digest, str) or not head.code_digest.isprintable():
        raise ValueError("code_digest is not a printable string")
    for place, entries in (("environment", head.environment), ("plan", head.plan)):
        if not isinstance(entries, dict):
            raise ValueError(f"{place} is not an object")
        if not all(f"{n} {format_value(value)}".isprintable() for n, value in entries.items()):
            raise ValueError(f"{place} holds control characters")
    number = isinstance(head.limit, (int, float)) and not isinstance(head.limit, bool)
    if not number or not 0 < head.limit < math.inf:
        raise ValueError("limit is not a positive number")


def to_record(row: Row) -> Record:
    """A result as the values of COLUMNS, R to six digits. Raises BadRun if it is too long."""
    ratios = [math.nan if t.R is None else rounded(t.R) for t in row.tensors.values()]
    record = (
        *(*row.key, row.verdict, rounded(row.R), row.tensor, row.place, row.kernel),
        *(float(round(row.seconds, 6)), row.note, row.masks, " ".join(row.tensors)),
        bytes.fromhex("".join(t.bits for t in row.tensors.values())),
        struct.pack(f"<{len(ratios)}d", *ratios),
    )
    if sum(_size(part) for part in record) > LONGEST - 100:  # which the lengths take
        raise BadRun(f"the result of {row.case} on {row.path} is too long for a run")
    return record


def _size(part: str | float | bytes) -> int:
    """The number of bytes that a value takes."""
    return len(part.encode()) if isinstance(part, str) else len(part) if type(part) is bytes else 8


def from_record(record: Record, limit: float) -> Row:
    """The result that `to_record` made. Raises ValueError for anything else."""
    kinds = (*(str,) * 4, float, *(str,) * 3, float, *(str,) * 3, bytes, bytes)
    if tuple(map(type, record)) != kinds:
        raise ValueError("a result has a value of a wrong type")
    *texts, names, bits, ratios = record
    tensors = names.split(" ") if names else []
    if not len(bits) == len(ratios) == 8 * len(tensors) or len(set(tensors)) < len(tensors):
        raise ValueError("a result does not have one digest and one R for each tensor")
    hexadecimal = bits.hex()
    digests = {
        name: TensorDigest(None if math.isnan(R) else R, hexadecimal[16 * i : 16 * (i + 1)])
        for i, (name, (R,)) in enumerate(
            zip(tensors, struct.iter_unpack("<d", ratios), strict=True)
        )
    }
    row = Row._make([*texts, digests])
    reject_contradictions(row, limit)
    return row


def to_parts(case: str, kept: KeptTensor) -> Iterator[Record]:
    """The values of a tensor as rows of `kept`; one row if there are none."""
    flat = np.ascontiguousarray(kept.value).reshape(-1)
    shape = " ".join(map(str, kept.value.shape))
    for part, start in enumerate(range(0, max(flat.size, 1), PART)):
        content = flat[start : start + PART].tobytes()
        yield (case, *kept[:3], part, kept.value.dtype.str, shape, content)


def checksum(records: Iterable[Record]) -> str:
    """The checksum of a case: of its rows of `results` and `kept`, in the order of their keys."""
    return digest(*(repr(record).encode() for record in records))
