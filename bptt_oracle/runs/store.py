"""Write a run: a database to which each finished case is added at once.

    RUN.unfinished   the database while cases are recorded, with its log RUN.unfinished-wal
    RUN              the finished run: sorted, sealed, and renamed when it is whole

A case is added by one transaction, so that a kill loses at most the cases in work. The database is
locked as long as it is open. When the same command opens it again, the checksum of every case is
verified, and a damaged case is recorded again.
"""

import math
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from .files import written_aside
from .row import BadRun, Row, differences, merged
from .run import check_run, unfinished_path
from .schema import (
    COLUMNS,
    FINISHED,
    KEY,
    PAGE_SIZE,
    UNFINISHED,
    VERSION,
    Head,
    KeptTensor,
    Record,
    as_text,
    checksum,
    create,
    environment_text,
    from_record,
    has_schema,
    insert_environment,
    read_head,
    to_parts,
    to_record,
)
from .seal import seal

CRASHES_NAMED = 3
_CACHE = 64 * 1024  # kB
_INSERT = f"INSERT INTO results ({COLUMNS}) VALUES ({', '.join('?' * 15)})"
_INSERT_KEPT = "INSERT INTO kept VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


class FinishedCase(NamedTuple):
    """One case: its results, and the tensors whose values are kept."""

    case: str
    rows: list[Row]
    kept: list[KeptTensor]


class Summary(NamedTuple):
    """What a run holds."""

    verdicts: Counter[str]
    crashes: list[Row]  # the first of them


class Store(NamedTuple):
    """An open unfinished run."""

    file: Path  # the database
    connection: sqlite3.Connection

    def has(self, case: str) -> bool:
        """Whether a case is finished."""
        query = "SELECT 1 FROM cases WHERE case_id = ?"
        return self.connection.execute(query, (case,)).fetchone() is not None

    def number_of_cases(self) -> int:
        """The number of finished cases."""
        number: int = self.connection.execute("SELECT count(*) FROM cases").fetchone()[0]
        return number

    def summary(self) -> Summary:
        """How many results have each verdict, and the first crashes."""
        execute = self.connection.execute
        verdicts = Counter(dict(execute("SELECT verdict, count(*) FROM results GROUP BY verdict")))
        query = f"SELECT {COLUMNS} FROM results WHERE verdict = 'crash' ORDER BY {KEY} LIMIT ?"
        crashes = [from_record(r, math.inf) for r in execute(query, (CRASHES_NAMED,))]
        return Summary(verdicts, crashes)

    def remove_cases(self) -> None:
        """Remove every case; the file is then deleted when it is closed."""
        self.connection.execute("DELETE FROM cases")

    def add(self, *finished: FinishedCase, environment: Mapping[str, Any] | None = None) -> None:
        """Add finished cases, all of them or nothing, which were computed in an environment; in
        that of the whole run if None. Raises BadRun if that is impossible."""
        with writing(self.file):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                number = 0 if environment is None else self._number_of(environment)
                for one in finished:
                    rows = [row._replace(environment=number) for row in one.rows]
                    _insert(self.connection, one._replace(rows=rows))
                self.connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite may have rolled back
                    self.connection.execute("ROLLBACK")
                raise

    def _number_of(self, environment: Mapping[str, Any]) -> int:
        """The number of an environment, which is added if the run does not have it."""
        text, execute = environment_text(environment), self.connection.execute
        found = execute("SELECT number FROM environments WHERE facts = ?", (text,)).fetchone()
        if found is not None:
            return int(found[0])
        number: int = execute("SELECT count(*) FROM environments").fetchone()[0]
        insert_environment(self.connection, number, environment)
        return number


def _insert(connection: sqlite3.Connection, finished: FinishedCase) -> None:
    records = sorted(to_record(row) for row in finished.rows)
    kept = sorted(finished.kept, key=lambda tensor: tensor[:3])
    connection.executemany(_INSERT, records)
    for tensor in kept:
        connection.executemany(_INSERT_KEPT, to_parts(finished.case, tensor))
    parts = chain.from_iterable(to_parts(finished.case, tensor) for tensor in kept)
    entry = (finished.case, checksum(chain(records, parts)))
    connection.execute("INSERT INTO cases VALUES (?, ?)", entry)


@contextmanager
def open_store(output: Path, head: Head) -> Iterator[Store]:
    """The unfinished run of the file `output`, with the cases of it that are whole; a new one if
    there is none. It is locked for this process, and deleted at the end if it has no case. The
    environments of a head without any are those of the run. Raises BadRun if another process has it
    open, if it cannot be opened, or if it has another plan or environment or is of other code."""
    file = unfinished_path(output)
    with writing(file):
        if file.exists() and not file.is_file():
            raise BadRun(f"{file}, the unfinished run, is not a file; name another output")
        file.touch()  # with the permissions that the umask leaves
    connection = sqlite3.connect(
        file.absolute().as_uri(), isolation_level=None, timeout=0, uri=True
    )
    try:
        with writing(file):
            _lock(file, connection)
            store = Store(file, connection)
            if _is_continued(store, head):
                _remove_damaged(store, head)
            else:
                create(connection, head)
        yield store
    finally:
        empty = False
        with suppress(sqlite3.Error):
            empty = not _has_tables(connection) or not Store(file, connection).number_of_cases()
        _close(connection, file if empty else None)


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Raise an OSError or an error of SQLite of the block as a BadRun that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise BadRun(
                f"{file} is being written by another record, or another program has it open; wait "
                "for its end, or name another file"
            ) from None
        if name in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
            raise BadRun(
                f"{file} is damaged, or is not an unfinished run; remove it, or name another output"
            ) from None
        if name == "SQLITE_NOMEM":
            raise MemoryError from None
        reason = str(error)
    else:
        return
    raise BadRun(
        f"{file} cannot be written: {reason}; make room, or name an output elsewhere"
    ) from None


def _lock(file: Path, connection: sqlite3.Connection) -> None:
    """Lock the database until it is closed, and let it keep a log, which survives a kill. Raises
    BadRun if it is not an unfinished run, which is then left as it is."""
    for setting in ("trusted_schema = OFF", "cell_size_check = ON", "locking_mode = EXCLUSIVE"):
        connection.execute(f"PRAGMA {setting}")
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if _has_tables(connection) and (application != UNFINISHED or not _is_known(connection)):
        raise BadRun(f"{file} is not an unfinished run; remove it, or name another output")
    for setting in (f"page_size = {PAGE_SIZE}", "journal_mode = WAL", "synchronous = NORMAL"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute(f"PRAGMA cache_size = -{_CACHE}")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("COMMIT")
    if not file.exists():  # another process has just finished the run
        raise BadRun(f"{file} was being written by another record; name another file")


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None


def _is_known(connection: sqlite3.Connection) -> bool:
    """Whether a database has the tables of its schema."""
    return has_schema(connection, _version(connection))


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _is_continued(store: Store, head: Head) -> bool:
    """Whether the store has cases of this head; False if it is to be made anew, as it has none.
    Raises BadRun if it is of another plan or environment or of other code."""
    if not _has_tables(store.connection):
        return False
    try:
        recorded = read_head(store.connection, _version(store.connection))
    except ValueError as error:
        raise BadRun(
            f"{store.file} is not an unfinished run ({error}); remove it, or name another output"
        ) from None
    if mismatch := describe_mismatch(recorded, head):
        raise BadRun(
            f"{store.file} belongs to an unfinished run of {mismatch}; continue that run with its "
            "own command, or remove the file"
        )
    if as_text(recorded) == as_text(head) and _version(store.connection) == VERSION:
        return True
    if cases := store.number_of_cases():
        raise BadRun(
            f"{store.file} is an unfinished run of {cases} cases by other code of bptt-oracle "
            f"(digest {recorded.code_digest}, here {head.code_digest}); install the version that "
            "began it to continue, or remove the file to begin anew"
        )
    return False


def describe_mismatch(recorded: Head, head: Head) -> str:
    """How the recorded plan and environments differ from those of `head`, for an error message;
    empty if they do not. A head without environments has any."""
    parts = []
    environments = merged(recorded.environments), merged(head.environments)
    compared = {"plan": (recorded.plan, head.plan)}
    compared |= {"environment": environments} if head.environments else {}
    for name, pair in compared.items():
        if changes := differences(*pair):
            details = "; ".join(f"{n} {a}, not {b}" for n, a, b in changes)
            parts.append(f"another {name} ({details})")
    return " and ".join(parts)


def _remove_damaged(store: Store, head: Head) -> None:
    """Remove the cases whose checksum is not that of what is kept of them, and what belongs to no
    case."""
    cases = store.connection.execute("SELECT case_id, checksum FROM cases ORDER BY 1")
    damaged = [case for case, expected in cases if _checksum_of(store, case, head) != expected]
    store.connection.execute("BEGIN IMMEDIATE")
    for case in damaged:
        store.connection.execute("DELETE FROM cases WHERE case_id IS ?", (case,))
    for table in ("results", "kept"):
        store.connection.execute(
            f"DELETE FROM {table} WHERE case_id NOT IN (SELECT case_id FROM cases)"
        )
    store.connection.execute("COMMIT")


def _checksum_of(store: Store, case: str, head: Head) -> str:
    """The checksum of what the database holds of a case; empty if that is not a result."""
    execute = store.connection.execute
    records = execute(f"SELECT {COLUMNS} FROM results WHERE case_id = ? ORDER BY {KEY}", (case,))
    kept = execute(f"SELECT * FROM kept WHERE case_id = ? ORDER BY {KEY}, tensor, part", (case,))
    try:
        return checksum(chain((r for r in records if from_record(r, head.limit)), kept))
    except ValueError:
        return ""


def _close(connection: sqlite3.Connection, to_delete: Path | None) -> None:
    """Close a database, and delete its file before its lock is released, so that no other process
    opens what is deleted. Windows deletes no open file."""
    if os.name == "nt":
        connection.close()
    for suffix in ("", "-wal"):
        with suppress(OSError):
            if to_delete is not None:
                to_delete.with_name(to_delete.name + suffix).unlink()
    connection.close()


def publish(store: Store, output: Path) -> None:
    """Write the finished run, verify it, and then give it its name and delete the unfinished one.
    Raises BadRun; the unfinished run then stays."""
    with writing(output), written_aside(output) as aside:
        store.connection.execute("VACUUM INTO ?", (aside.as_uri(),))
        finish(aside)
        try:
            _verify(store, aside)
        except BadRun as error:
            reason = str(error).replace(str(aside), str(output))
            raise BadRun(f"{reason}; {store.file} keeps all cases") from None
    _close(store.connection, store.file)


def finish(file: Path) -> None:
    """Mark a database as a finished run, and seal it."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = MEMORY")
        connection.execute(f"PRAGMA application_id = {FINISHED}")
    seal(file)


def _verify(store: Store, file: Path) -> None:
    """Raise BadRun unless a finished run can be read and holds as many results as the store."""
    run = check_run(file)
    with closing(sqlite3.connect(run.database)) as finished:
        query = "SELECT (SELECT count(*) FROM cases), (SELECT count(*) FROM results)"
        if finished.execute(query).fetchone() != store.connection.execute(query).fetchone():
            raise BadRun(f"{file} holds other results than were written")


def write_database(
    file: Path, head: Head, records: Iterable[Record], kept: Iterable[tuple[str, KeptTensor]] = ()
) -> None:
    """Write a database that has these results, without cases. It is not finished. Raises
    sqlite3.Error."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        for setting in ("journal_mode = OFF", "synchronous = OFF"):
            connection.execute(f"PRAGMA {setting}")
        create(connection, head)
        connection.execute("BEGIN")
        connection.executemany(_INSERT, records)
        for case, tensor in kept:
            connection.executemany(_INSERT_KEPT, to_parts(case, tensor))
        connection.execute("COMMIT")
