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

from .row import Row
from .run import Run, connection_to, read_record
from .schema import COLUMNS, KEY, from_record

DRIFT_FACTOR = 4.0
DRIFT_FLOOR = 2.0  # a smaller R is that of a careful evaluation, and its size means nothing
SIZE = 1024  # pairs that are in memory
Key = tuple[str, str, str]
_AGREE = (
    "o.verdict = 'agree' AND n.verdict = 'agree' AND o.names = n.names "
    "AND o.R BETWEEN 0 AND :limit AND n.R BETWEEN 0 AND :new_limit"
)
_WORD = (
    "CASE WHEN o.masks <> n.masks THEN 'masks' WHEN o.kernel <> n.kernel THEN 'kernel' "
    "WHEN o.bits <> n.bits THEN 'moved' ELSE 'equal' END"
)
_JOIN = (
    f"SELECT o.case_id, o.path, o.dtype, CASE WHEN {_AGREE} THEN {_WORD} END, "
    "o.bits, n.bits, o.ratios, n.ratios, "
    "CASE WHEN o.kernel <> n.kernel THEN o.kernel END, n.kernel "
    f"FROM main.results o LEFT JOIN new.results n USING ({KEY}) ORDER BY 1, 2, 3"
)
_AFTER = f"({KEY}) > (?, ?, ?)"
_BETWEEN = f"{_AFTER} AND ({KEY}) <= (?, ?, ?)"
REMOVED = "removed"


class Batch(NamedTuple):
    """Some thousand results of the old run, and those that only the new one has between them."""

    keys: list[Key]
    words: list[str]  # masks, kernel, moved or equal; REMOVED; empty if it needs the rows
    counts: Counter[tuple[str, str, str]]  # path, dtype and word
    kernels: Counter[tuple[str, str, str, str]]  # path, dtype, old and new, of those with a word
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
        cursor, last = self.connection.execute(_JOIN, limits), ("", "", "")
        while found := cursor.fetchmany(SIZE):
            batch = _batch(found, factor, self.old.limit, self.new.limit)
            _require_keys([last, *batch.keys])
            common = len(batch.keys) - batch.words.count(REMOVED)
            yield batch._replace(added=self._added(common, _BETWEEN, [*last, *batch.keys[-1]]))
            last = batch.keys[-1]
        nothing = np.zeros(0)
        rest = self._added(0, _AFTER, last)
        yield Batch([], [], Counter(), Counter(), nothing, nothing, rest)

    def rows(self, key: Key) -> tuple[Row | None, Row | None]:
        """The results of the old and of the new run with that key; None if a run has none. Raises
        ValueError."""
        old, new = (read_record(self.connection, name, key) for name in ("main", "new"))
        return (
            None if old is None else from_record(old, self.old.limit),
            None if new is None else from_record(new, self.new.limit),
        )

    def _added(self, common: int, where: str, keys: Sequence[str]) -> Iterator[Row]:
        """The results that only the new run has where a condition holds, under which both runs
        have `common` results."""
        query = f"SELECT count(*) FROM new.results n WHERE {where}"
        if self.connection.execute(query, keys).fetchone()[0] == common:
            return
        records = self.connection.execute(
            f"SELECT {COLUMNS} FROM new.results n WHERE {where} AND NOT EXISTS (SELECT 1 FROM "
            "main.results o WHERE o.case_id = n.case_id AND o.path = n.path AND o.dtype = n.dtype"
            f") ORDER BY {KEY}",
            keys,
        )
        for record in records:
            yield from_record(record, self.new.limit)


@contextmanager
def open_pairs(old: Run, new: Run) -> Iterator[Pairs]:
    """The pairs of two runs. Errors of the block are raised as BadRun."""
    with connection_to(old, new) as connection:
        yield Pairs(old, new, connection)


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
    cases, paths, dtypes, given, *given_blobs, old_kernels, new_kernels = zip(*found, strict=True)
    words = [
        word or ("" if kernel is not None else REMOVED)
        for word, kernel in zip(given, new_kernels, strict=True)
    ]
    plain = [i for i, word in enumerate(given) if word]
    blobs = [[column[i] for i in plain] for column in given_blobs]
    try:
        sizes = [list(map(len, column)) for column in blobs]
        joined = [b"".join(column) for column in blobs]
    except TypeError:
        raise ValueError("a result has a value of a wrong type") from None
    if sizes.count(sizes[0]) < len(sizes) or any(size % 8 for size in set(sizes[0])):
        raise ValueError("a result does not have one digest and one R for each tensor")
    old_bits, new_bits = (np.frombuffer(bits, "<u8") for bits in joined[:2])
    old, new = (np.frombuffer(ratios, "<f8") for ratios in joined[2:])
    owner = np.repeat(np.array(plain, int), np.array(sizes[0], int) // 8)
    with np.errstate(over="ignore"):
        drifted = new > np.maximum(DRIFT_FLOOR, factor * old)  # not where either is NaN
    redrawn = np.array([word == "masks" for word in words], bool)[owner]
    wrong = (old > limit) | (new > new_limit) | (old < 0) | (new < 0)
    to_read = np.unique(owner[(drifted & ~redrawn) | wrong])
    for i in to_read:
        words[i] = ""
    decided = ~np.isin(owner, to_read)
    moved = (old_bits != new_bits) & decided & ~redrawn & ~np.isnan(old) & ~np.isnan(new)
    kernels = Counter(
        (paths[i], dtypes[i], kernel, new_kernels[i])
        for i, kernel in enumerate(old_kernels)
        if kernel is not None and words[i]
    )
    counts = Counter(zip(paths, dtypes, words, strict=True))
    keys = list(zip(cases, paths, dtypes, strict=True))
    return Batch(keys, words, counts, kernels, old[moved], new[moved])
