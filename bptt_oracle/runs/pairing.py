"""Pair the results of two implementations, or of two paths, whose names differ.

Results are compared by case, name and dtype. For a pair OLD=NEW the results of OLD get the name
NEW, in a temporary copy of the old run that holds nothing else; so does the new run, without its
other names. All that comes after it sees one name.
"""

import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from ..processes.interrupt import temporary
from .row import BadRun
from .run import Run, attach, connection_to, reading
from .schema import COLUMNS, KEPT_COLUMNS, LONGEST, VERSION, Head, columns_of, create

Names = dict[str, str]  # of the old run, to those of the new one


def names_of(run: Run) -> list[str]:
    """The paths and implementations of a run, as its plan states them."""
    names = run.plan.get("paths")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _recorded_names(run: Run) -> list[str]:
    """Those of the names of a run that have results: a path may have computed no case of the plan.
    Raises BadRun."""
    query = "SELECT EXISTS (SELECT 1 FROM results WHERE path = ?)"
    with connection_to(run) as connection:
        return [n for n in names_of(run) if connection.execute(query, (n,)).fetchone()[0]]


def pairs_of(old: Run, new: Run, given: Sequence[str] = ()) -> Names:
    """The pairs of names that `given` states, each as OLD=NEW; without them the only name of each
    run, if these differ; {} if results are compared under their own names. Raises BadRun for a pair
    of names that have no results, or a name in two pairs."""
    before, after = names_of(old), names_of(new)
    if not given:
        differ = len(before) == len(after) == 1 and before != after
        return dict(zip(before, after, strict=True)) if differ else {}
    before, after = _recorded_names(old), _recorded_names(new)
    pairs: Names = {}
    for pair in given:
        ends = pair.split("=")
        if len(ends) != 2 or not all(ends):
            raise BadRun(f"{pair!r} is not a pair of names; expected OLD=NEW")
        for end, names, run in zip(ends, (before, after), (old, new), strict=True):
            if end not in names:
                raise BadRun(f"{run.file} has no results of {end!r}; it has {', '.join(names)}")
        if ends[0] in pairs or ends[1] in pairs.values():
            raise BadRun(f"{pair!r} has a name that another pair has; name each once")
        pairs[ends[0]] = ends[1]
    return pairs


@contextmanager
def paired(old: Run, new: Run, pairs: Names) -> Iterator[tuple[Run, Run]]:
    """The two runs with only the results of these pairs, under the names of the new run; unchanged
    if there are no pairs. Raises BadRun."""
    if not pairs:
        yield old, new
        return
    with temporary(Path(tempfile.mkdtemp(prefix="bptt-oracle."))) as folder:
        same = {name: name for name in pairs.values()}
        yield _copy(old, pairs, folder / "old"), _copy(new, same, folder / "new")


def _copy(run: Run, names: Mapping[str, str], database: Path) -> Run:
    """The results of a run that have one of these names, each with its new name, in a database."""
    opened = sqlite3.connect(database, uri=True, isolation_level=None)
    with reading(run.file), closing(opened) as connection:
        create(connection, Head(run.code_digest, run.limit, run.environments, run.plan))
        attach(connection, run.database, "source")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
        connection.execute("BEGIN")
        results = columns_of(run.version)
        tables = (("results", COLUMNS, results), ("kept", KEPT_COLUMNS, KEPT_COLUMNS))
        for table, columns, read in tables:
            renamed = read.replace("path", "?", 1)
            insert = f"INSERT INTO main.{table} ({columns}) SELECT {renamed} "
            for name, new_name in names.items():
                query = f"{insert} FROM source.{table} WHERE path = ?"
                connection.execute(query, (new_name, name))
        connection.execute("COMMIT")
    return run._replace(database=database, version=VERSION)
