"""Read a finished run. The file may have been cut off or changed, may come from a newer version,
may be another database, or may have been made to do harm.

Each such file raises BadRun with a one-sentence message. It is opened for reading only, without
locks and without a second file; its tables must be exactly those of a run, and its pages must be
consistent (`quick_check`). SQLite then reads no value that is longer than a run has. The rows are
read one by one, so that the memory does not depend on their number.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .files import printable
from .row import BadRun, NewerRun, Row, merged
from .schema import (
    FINISHED,
    LONGEST,
    LONGEST_HEAD,
    OLDEST,
    UNFINISHED,
    VERSION,
    Record,
    columns_of,
    from_record,
    has_schema,
    read_head,
    statements_of,
)
from .seal import is_sealed

MAGIC = b"SQLite format 3\0"
HEADER = 108  # bytes: the header of the file, and of its first page
_LEAF = 13  # the kind of a page that holds rows, not pages
_CACHE = 32 * 1024  # kB


class Run(NamedTuple):
    """A run that was checked, and where to read its results."""

    file: Path  # as the user named it
    database: Path  # `file`, or a temporary copy of an older run in the present form
    code_digest: str
    limit: float
    environments: list[dict[str, Any]]
    plan: dict[str, Any]
    version: int = VERSION  # the schema of the database

    @property
    def environment(self) -> dict[str, Any]:
        """Name and value of each fact of the environments; where they differ, all values."""
        return merged(self.environments)

    def row(self, record: Record) -> Row:
        """A result that was read from the database. Raises ValueError."""
        row = from_record(record, self.limit)
        if row.environment >= max(1, len(self.environments)):
            raise ValueError("a result has the number of no environment")
        return row


class Kind(NamedTuple):
    """What the first bytes of a file say."""

    finished: bool
    unfinished: bool
    version: int
    tables: int  # more than any schema has if there are more than fit on the first page


def kind_of(file: Path) -> Kind | None:
    """The kind of a run; None if the file is not a database, or that of another program. Raises
    OSError."""
    with file.open("rb") as content:
        header = content.read(HEADER)
    application = int.from_bytes(header[68:72])
    if not header.startswith(MAGIC) or application not in (FINISHED, UNFINISHED):
        return None
    tables = int.from_bytes(header[103:105]) if header[100:101] == bytes([_LEAF]) else 2**16
    version = int.from_bytes(header[60:64])
    return Kind(application == FINISHED, application == UNFINISHED, version, tables)


def unfinished_path(file: Path) -> Path:
    """The database into which `record` writes until the run is finished."""
    return file.with_name(f"{file.name}.unfinished")


def not_finished(file: Path) -> BadRun:
    """The error that a run is still to be finished."""
    return BadRun(f"{file} is not finished; the same record command continues it")


def check_run(file: Path) -> Run:
    """Check a run of this version, and read what holds for the whole. Raises BadRun."""
    with reading(file):
        kind = kind_of(file)
        if kind is None:
            raise BadRun(f"{file} is not a run; `bptt-oracle record -o` writes one")
        if kind.unfinished:
            raise not_finished(file)
        if kind.version > VERSION:
            raise NewerRun(
                f"{file} follows schema {kind.version}, and this bptt-oracle reads schemas up to "
                f"{VERSION}: read it with the version that wrote it, or a later one"
            )
        if not is_sealed(file):
            raise BadRun(f"{file} was cut off or changed since it was written; record it again")
        if kind.version < OLDEST or kind.tables != len(statements_of(kind.version)):
            raise BadRun(f"{file} is not a run: its tables are others")
        return check_database(file, file, kind.version)


def check_database(file: Path, database: Path, version: int = VERSION) -> Run:
    """Check the tables and pages of a database of a schema, and read what holds for the whole.
    Raises BadRun, which names `file`."""
    with reading(file):
        connection = _connect(database)
        try:
            if not has_schema(connection, version):
                raise BadRun(f"{file} is not a run: its tables are others")
            if connection.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
                raise BadRun(f"{file} is not a run: its pages are inconsistent")
            return Run(file, database, *read_head(connection, version), version)
        finally:
            connection.close()


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Raise errors of the block as a BadRun that names the file."""
    try:
        yield
    except BadRun:
        raise
    except OSError as error:
        raise BadRun(f"{file} cannot be read: {error.strerror}") from None
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_NOMEM":
            raise MemoryError from None
        raise BadRun(f"{file} is damaged: {printable(str(error))[:200]}") from None
    except (ValueError, OverflowError) as error:
        raise BadRun(f"{file} is not a run: {printable(str(error))[:200]}") from None


@contextmanager
def connection_to(run: Run, new: Run | None = None) -> Iterator[sqlite3.Connection]:
    """A connection to the database of a run as `main`, and to that of another as `new`, in which
    no value may be longer than a run has. Errors of the block are those of `run`, and if it names
    no other, of both. Raises BadRun."""
    name = run.file if new is None or new.file == run.file else Path(f"{run.file} or {new.file}")
    with reading(name):
        connection = _connect(run.database)
        try:
            if new is not None:
                attach(connection, new.database, "new")
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
            yield connection
        finally:
            connection.close()


def read_rows(run: Run) -> Iterator[Row]:
    """The results, sorted by case, path and dtype. Raises BadRun."""
    with connection_to(run) as connection:
        columns = columns_of(run.version)
        for record in connection.execute(f"SELECT {columns} FROM results ORDER BY 1, 2, 3"):
            yield run.row(record)


def read_row(
    connection: sqlite3.Connection, run: Run, database: str, key: Sequence[str]
) -> Row | None:
    """One result of a run that `connection_to` has opened as `database`, if there is one. Raises
    ValueError."""
    where = "case_id = ? AND path = ? AND dtype = ?"
    record: Record | None = connection.execute(
        f"SELECT {columns_of(run.version)} FROM {database}.results WHERE {where}", tuple(key)
    ).fetchone()
    return None if record is None else run.row(record)


def count_rows(run: Run) -> int:
    """The number of results. Raises BadRun."""
    with connection_to(run) as connection:
        number: int = connection.execute("SELECT count(*) FROM results").fetchone()[0]
        return number


def _connect(database: Path) -> sqlite3.Connection:
    """A connection that can only read, and that runs nothing that the file may define."""
    connection = sqlite3.connect(_uri(database), uri=True, isolation_level=None)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_HEAD)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 2**14)
    for setting in ("trusted_schema = OFF", "cell_size_check = ON", "query_only = ON"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute("PRAGMA mmap_size = 0")
    connection.execute(f"PRAGMA cache_size = -{_CACHE}")
    return connection


def attach(connection: sqlite3.Connection, database: Path, name: str) -> None:
    """Open another database in a connection, for reading, under this name."""
    connection.execute(f"ATTACH ? AS {name}", (_uri(database),))
    connection.execute(f"PRAGMA {name}.cache_size = -{_CACHE}")


def _uri(database: Path) -> str:
    """The name for SQLite: without locks, because nothing writes the file."""
    return f"{database.resolve().as_uri()}?mode=ro&immutable=1"
