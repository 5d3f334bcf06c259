"""The tables of a run, an SQLite database, and how a result becomes a row of one.

    run            what holds for the whole run: code_digest, limit and plan, in JSON
    environments   the environments in which results were computed, in JSON, by number
    cases          the finished cases, each with a checksum of all that is kept of it
    results        one row for each case, path and dtype
    kept           the values of the tensors of chosen cases, in parts of PART elements

In `results`, `names` has the names of the tensors, with spaces between them; `bits` has their
digests, 8 bytes each, and `ratios` their R, a float64 each (little-endian, NaN where the tensor is
ill-conditioned), in the order of the names; `environment` is the number of one. Every table is
sorted by its key, so that two runs are compared by one walk.

Schema 3 has one environment, in the table `run`, and no numbers of environments.

The application id in the header of the file tells a finished run from an unfinished one.
"""

import json
import math
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .files import replace_nonfinite
from .row import BadRun, Row, TensorDigest, digest, format_value, reject_contradictions, rounded

FINISHED, UNFINISHED = (int.from_bytes(name) for name in (b"bpto", b"bptu"))
VERSION = 4  # in the header as the user version; 1 and 2 are JSON
OLDEST = 3  # that is a database
PAGE_SIZE = 8192
LONGEST_HEAD = 2**20  # bytes of the plan, and of all environments
MOST_ENVIRONMENTS = 1000
LONGEST = 2**16  # bytes of a row, and of any of its values
PART = 2**12  # elements
KEY = "case_id, path, dtype"
_COLUMNS = f"{KEY}, verdict, R, tensor, place, kernel, seconds, note, masks, names, bits, ratios"
COLUMNS = f"{_COLUMNS}, environment"
KEPT_COLUMNS = f"{KEY}, tensor, part, format, shape, content"
TABLES = {
    "cases": "case_id TEXT NOT NULL PRIMARY KEY, checksum TEXT NOT NULL",
    "environments": "number INTEGER NOT NULL PRIMARY KEY, facts TEXT NOT NULL",
    "kept": (
        "case_id TEXT NOT NULL, path TEXT NOT NULL, dtype TEXT NOT NULL, tensor TEXT NOT NULL, "
        "part INTEGER NOT NULL, format TEXT NOT NULL, shape TEXT NOT NULL, content BLOB NOT NULL, "
        f"PRIMARY KEY ({KEY}, tensor, part)"
    ),
    "results": (
        "case_id TEXT NOT NULL, path TEXT NOT NULL, dtype TEXT NOT NULL, verdict TEXT NOT NULL, "
        "R REAL NOT NULL, tensor TEXT NOT NULL, place TEXT NOT NULL, kernel TEXT NOT NULL, "
        "seconds REAL NOT NULL, note TEXT NOT NULL, masks TEXT NOT NULL, names TEXT NOT NULL, "
        "bits BLOB NOT NULL, ratios BLOB NOT NULL, environment INTEGER NOT NULL, "
        f"PRIMARY KEY ({KEY})"
    ),
    "run": "name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL",
}
STATEMENTS = {
    name: f"CREATE TABLE {name} ({columns}) WITHOUT ROWID" for name, columns in TABLES.items()
}
_STATEMENTS_3 = {
    name: statement.replace("environment INTEGER NOT NULL, ", "")
    for name, statement in STATEMENTS.items()
    if name != "environments"
}
Record = tuple[Any, ...]  # the values of COLUMNS


class Head(NamedTuple):
    """What holds for a whole run."""

    code_digest: str  # of the code that recorded it
    limit: float  # R above it was a fault
    environments: list[dict[str, Any]]  # by their numbers
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
    for number, facts in enumerate(head.environments):
        insert_environment(connection, number, facts)
    connection.execute(f"PRAGMA application_id = {UNFINISHED}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def as_text(head: Head) -> dict[str, str]:
    """The entries of the table `run`. Raises BadRun if one is too long."""
    entries = {
        name: json.dumps(replace_nonfinite(getattr(head, name)))
        for name in Head._fields
        if name != "environments"
    }
    for name, text in entries.items():
        if len(text) > LONGEST_HEAD - 100:
            raise BadRun(
                f"the {name} takes {len(text)} bytes, and a run holds {LONGEST_HEAD - 100}; make "
                "it shorter"
            )
    return entries


def insert_environment(
    connection: sqlite3.Connection, number: int, facts: Mapping[str, Any]
) -> None:
    """Add an environment to a database. Raises BadRun if a run cannot have that many."""
    query = "SELECT count(*), coalesce(sum(length(facts)), 0) FROM environments"
    text = environment_text(facts)
    earlier, length = connection.execute(query).fetchone()
    if earlier >= MOST_ENVIRONMENTS or length + len(text) > LONGEST_HEAD - 100:
        raise BadRun(
            f"{earlier + 1} environments take {length + len(text)} bytes, and a run holds "
            f"{MOST_ENVIRONMENTS} of {LONGEST_HEAD - 100} bytes; record on fewer kinds of machines"
        )
    connection.execute("INSERT INTO environments VALUES (?, ?)", (number, text))


def environment_text(facts: Mapping[str, Any]) -> str:
    """An environment as a run keeps it."""
    return json.dumps(replace_nonfinite(dict(facts)))


def statements_of(version: int) -> dict[str, str]:
    """The tables of a database of a schema, with the statements that made them."""
    return STATEMENTS if version == VERSION else _STATEMENTS_3


def columns_of(version: int) -> str:
    """COLUMNS in a query of the table `results` of a schema."""
    return COLUMNS if version == VERSION else f"{_COLUMNS}, 0 AS environment"


def has_schema(connection: sqlite3.Connection, version: int = VERSION) -> bool:
    """Whether a database has the tables of a schema, and nothing else: no view, trigger or
    index."""
    query = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name LIMIT 9"
    expected = [("table", name, name, sql) for name, sql in statements_of(version).items()]
    return connection.execute(query).fetchall() == expected


def read_head(connection: sqlite3.Connection, version: int = VERSION) -> Head:
    """What a database of a schema says of the whole run. Raises ValueError."""
    entries = dict(connection.execute("SELECT name, value FROM run ORDER BY name LIMIT 9"))
    try:
        values = [json.loads(entries[name]) for name in ("code_digest", "limit", "plan")]
        old = [json.loads(entries["environment"])] if version < VERSION else []
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ValueError("its table `run` is incomplete") from None
    environments = old or _read_environments(connection)
    head = Head(values[0], values[1], environments, values[2])
    reject_bad_head(head)
    return head


def _read_environments(connection: sqlite3.Connection) -> list[Any]:
    """The environments of a database of the present schema. Raises ValueError."""
    query = f"SELECT number, facts FROM environments ORDER BY number LIMIT {MOST_ENVIRONMENTS + 1}"
    found, length = [], 0
    for expected, (number, facts) in enumerate(connection.execute(query)):
        if number != expected or type(facts) is not str or expected == MOST_ENVIRONMENTS:
            raise ValueError("its table `environments` is incomplete or too long")
        length += len(facts)
        if length > LONGEST_HEAD:
            raise ValueError("its environments are too long")
        try:
            found.append(json.loads(facts))
        except (ValueError, RecursionError):
            raise ValueError("an environment is not JSON") from None
    return found


def reject_bad_head(head: Head) -> None:
    """Raise ValueError unless each entry is of its kind."""
    if not isinstance(head.code_digest, str) or not head.code_digest.isprintable():
        raise ValueError("code_digest is not a printable string")
    if not isinstance(head.environments, list):
        raise ValueError("environments is not a list")
    places = [("an environment", facts) for facts in head.environments]
    for place, entries in (*places, ("plan", head.plan)):
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
        row.environment,
    )
    if sum(_size(part) for part in record) > LONGEST - 100:  # which the lengths take
        raise BadRun(f"the result of {row.case} on {row.path} is too long for a run")
    return record


def _size(part: str | float | bytes) -> int:
    """The number of bytes that a value takes."""
    return len(part.encode()) if isinstance(part, str) else len(part) if type(part) is bytes else 8


def from_record(record: Record, limit: float) -> Row:
    """The result that `to_record` made. Raises ValueError for anything else."""
    kinds = (*(str,) * 4, float, *(str,) * 3, float, *(str,) * 3, bytes, bytes, int)
    if tuple(map(type, record)) != kinds:
        raise ValueError("a result has a value of a wrong type")
    *texts, names, bits, ratios, environment = record
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
    row = Row._make([*texts, digests, environment])
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
