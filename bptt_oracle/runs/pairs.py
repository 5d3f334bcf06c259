"""Walk through two runs at the same time, in the order of their keys.

SQLite joins the two tables, which are sorted alike. Most pairs of results need no more than their
numbers: where both agree and no R drifted, SQL says what changed, and NumPy reads R and the digests
of some thousand pairs at once. The other pairs are returned as rows.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import lt
from typing import Any, NamedTuple

import numpy as np

from .row import MODEL, Row
from .run import Run, connection_to, read_row
from .schema import KEY, VERSION, columns_of

DRIFT_FACTOR = 4.0
DRIFT_FLOOR = 2.0  # a smaller R is that of a careful evaluation, and its size means nothing
SIZE = 1024  # pairs that are in memory
Key = tuple[str, str, str]
_AGREE = (
    "o.verdict = 'agree' AND n.verdict = 'agree' AND o.names = n.names "
    "AND o.R BETWEEN 0 AND :limit AND n.R BETWEEN 0 AND :new_limit"
)
_WORD = (
    f"CASE WHEN o.masks <> n.masks AND o.case_id LIKE '{MODEL}%' THEN 'inputs' "
    "WHEN o.masks <> n.masks THEN 'masks' WHEN o.kernel <> n.kernel THEN 'kernel' "
    "WHEN o.bits <> n.bits THEN 'moved' WHEN o.ratios <> n.ratios THEN 'equal' ELSE 'same' END"
)
_JOIN = (
    f"SELECT o.case_id, o.path, o.dtype, CASE WHEN {_AGREE} THEN {_WORD} END, "
    "nullif(o.bits, n.bits), n.bits, nullif(o.ratios, n.ratios), n.ratios, "  # NULL: the same
    "CASE WHEN o.kernel <> n.kernel THEN o.kernel END, n.kernel, {old}, {new} "
    f"FROM main.results o LEFT JOIN new.results n USING ({KEY}) ORDER BY 1, 2, 3"
)
_AFTER = f"({KEY}) > (?, ?, ?)"
_BETWEEN = f"{_AFTER} AND ({KEY}) <= (?, ?, ?)"
REMOVED = "removed"
_SAME = "same"  # bits and R


class Batch(NamedTuple):
    """Some thousand results of the old run, and those that only the new one has between them."""

    keys: list[Key]
    words: list[str]  # masks, inputs, kernel, moved or equal; REMOVED; empty if it needs the rows
    counts: Counter[tuple[str, str, str]]  # path, dtype and word
    kernels: Counter[tuple[str, str, str, str]]  # path, dtype, old and new, of those with a word
    environments: Counter[tuple[Any, Any, str]]  # the numbers of the old and the new one, and word
    old: np.ndarray  # R of the tensors whose bits moved, without those of other masks
    new: np.ndarray
    added: Iterable[Row] = ()  # that only the new run has; to be read before the next batch


class Pairs(NamedTuple):
    """Two runs that are open."""

    old: Run
    new: Run
    connection: sqlite3.Connection

    def batches(self, factor: float = DRIFT_FACTOR) -> Iterator[Batch]:
        """All results, in the order of their keys but for those that only the new run has. Drift is
        R that grew by more than `factor`. Raises ValueError."""
        limits = {"limit": self.old.limit, "new_limit": self.new.limit}
        join = _JOIN.replace("{old}", _environment(self.old, "o"))
        join = join.replace("{new}", _environment(self.new, "n"))
        cursor, last = self.connection.execute(join, limits), ("", "", "")
        while found := cursor.fetchmany(SIZE):
            batch = _batch(found, factor, self.old.limit, self.new.limit)
            _require_keys([last, *batch.keys])
            common = len(batch.keys) - batch.words.count(REMOVED)
            yield batch._replace(added=self._added(common, _BETWEEN, [*last, *batch.keys[-1]]))
            last = batch.keys[-1]
        nothing = np.zeros(0)
        rest = self._added(0, _AFTER, last)
        yield Batch([], [], Counter(), Counter(), Counter(), nothing, nothing, rest)

    def rows(self, key: Key) -> tuple[Row | None, Row | None]:
        """The results of the old and of the new run with that key; None if a run has none. Raises
        ValueError."""
        return (
            read_row(self.connection, self.old, "main", key),
            read_row(self.connection, self.new, "new", key),
        )

    def _added(self, common: int, where: str, keys: Sequence[str]) -> Iterator[Row]:
        """The results that only the new run has where a condition holds, under which both runs
        have `common` results. Raises ValueError."""
        query = f"SELECT count(*) FROM new.results n WHERE {where}"
        number = self.connection.execute(query, keys).fetchone()[0]
        if number == common:
            return
        columns = columns_of(self.new.version)
        records = self.connection.execute(
            f"SELECT {columns} FROM new.results n WHERE {where} AND NOT EXISTS (SELECT 1 FROM "
            "main.results o WHERE o.case_id = n.case_id AND o.path = n.path AND o.dtype = n.dtype"
            f") ORDER BY {KEY}",
            keys,
        )
        for record in records:
            common += 1
            yield self.new.row(record)
        if number != common:  # a search by key passed over results that are there
            raise ValueError("its results are not in the order of their keys")


@contextmanager
def open_pairs(old: Run, new: Run) -> Iterator[Pairs]:
    """The pairs of two runs. Errors of the block are raised as BadRun."""
    with connection_to(old, new) as connection:
        yield Pairs(old, new, connection)


def _environment(run: Run, table: str) -> str:
    """The number of the environment in a query of a table of results."""
    return f"{table}.environment" if run.version == VERSION else "0"


def _require_keys(keys: Sequence[Key]) -> None:
    """Raise ValueError unless the keys are printable texts that ascend, as SQLite must return
    them."""
    try:
        ascending = all(map(lt, keys, keys[1:]))
        printable = "".join(key[0] for key in keys).isprintable()
    except TypeError:
        ascending = printable = False
    if not printable:
        raise ValueError("a result has a key that is not a printable text")
    if not ascending:
        raise ValueError("its results are not in the order of their keys")


def _batch(found: Sequence[Any], factor: float, limit: float, new_limit: float) -> Batch:
    """The pairs of some rows of the join. Those are left without a word whose R drifted or
    contradicts that they agree. Raises ValueError."""
    cases, paths, dtypes, given, *others = zip(*found, strict=True)
    *blobs, old_kernels, new_kernels, before, after = others
    words = [
        word or ("" if kernel is not None else REMOVED)
        for word, kernel in zip(given, new_kernels, strict=True)
    ]
    same = [i for i, word in enumerate(given) if word == _SAME]
    same_R = _joined([blobs[3][i] for i in same], "<f8")
    impossible = bool(((same_R > min(limit, new_limit)) | (same_R < 0)).any())
    for i in same:
        words[i] = "" if impossible else "equal"
    changed = [i for i, word in enumerate(given) if word and word != _SAME]
    old_bits, bits, old_R, R, owner = _numbers(changed, blobs)
    with np.errstate(over="ignore"):
        drifted = np.maximum(DRIFT_FLOOR, factor * old_R) < R  # not where either is NaN
    redrawn = np.array([word in ("masks", "inputs") for word in words], bool)[owner]
    wrong = (old_R > limit) | (new_limit < R) | (old_R < 0) | (R < 0)
    to_read = np.unique(owner[(drifted & ~redrawn) | wrong])
    for i in to_read:
        words[i] = ""
    moved = (old_bits != bits) & ~redrawn & ~np.isnan(old_R) & ~np.isnan(R)
    moved &= ~np.isin(owner, to_read)
    kernels = Counter(
        (paths[i], dtypes[i], kernel, new_kernels[i])
        for i, kernel in enumerate(old_kernels)
        if kernel is not None and words[i]
    )
    counts = Counter(zip(paths, dtypes, words, strict=True))
    keys = list(zip(cases, paths, dtypes, strict=True))
    environments = Counter(zip(before, after, words, strict=True))
    return Batch(keys, words, counts, kernels, environments, old_R[moved], R[moved])


def _numbers(rows: Sequence[int], blobs: Sequence[Sequence[Any]]) -> list[np.ndarray]:
    """Of all tensors of some pairs: the digests and R of the old run and of the new one, and the
    pair. Raises ValueError."""
    old_bits, bits, old_R, R = (
        [column[i] if column[i] is not None else other[i] for i in rows]
        for column, other in zip(blobs, (blobs[1], blobs[1], blobs[3], blobs[3]), strict=True)
    )
    numbers = [_joined(column, "<u8") for column in (old_bits, bits)]
    numbers += [_joined(column, "<f8") for column in (old_R, R)]
    sizes = [list(map(len, column)) for column in (old_bits, bits, old_R, R)]
    if sizes.count(sizes[0]) < len(sizes):
        raise ValueError("a result does not have one digest and one R for each tensor")
    owner = np.repeat(np.array(rows, int), np.array(sizes[0], int) // 8)
    return [*numbers, owner]


def _joined(blobs: Sequence[Any], dtype: str) -> np.ndarray:
    """The numbers of 8 bytes in some blobs, one after the other. Raises ValueError."""
    try:
        if not any(size % 8 for size in set(map(len, blobs))):
            return np.frombuffer(b"".join(blobs), dtype)
    except TypeError:
        pass  # one of them is a number or a text
    raise ValueError("a result does not have one digest and one R for each tensor")
