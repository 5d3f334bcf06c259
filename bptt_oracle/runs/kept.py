"""The tensors whose values runs kept: how far those of two runs differ, and their values."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from .pairs import open_pairs
from .run import Run, connection_to
from .schema import KEY, PART

_FORMATS = {f"<{kind}{size}" for kind in "fiu" for size in (2, 4, 8)} | {"|b1", "|i1", "|u1"}
_SAME = " AND ".join(f"b.{name} = a.{name}" for name in (*KEY.split(", "), "tensor"))
_TENSORS = (
    f"SELECT {KEY}, tensor, a.shape, a.format, b.format FROM main.kept a "
    f"CROSS JOIN new.kept b USING ({KEY}, tensor) "
    "WHERE a.part = 0 AND b.part = 0 AND a.shape = b.shape ORDER BY 1, 2, 3, 4"
)
_VALUES = "SELECT tensor, shape, format, content FROM kept WHERE"
_OF_CASE = f"{_VALUES} case_id = ? ORDER BY tensor, part"
_OF_RESULT = f"{_VALUES} case_id = ? AND path = ? AND dtype = ? ORDER BY tensor, part"
_PARTS = (
    f"SELECT a.content, b.content FROM main.kept a CROSS JOIN new.kept b "
    f"ON {_SAME} AND b.part = a.part WHERE a.case_id = ? AND a.path = ? AND a.dtype = ? "
    "AND a.tensor = ? ORDER BY a.part"
)


def relative_differences(old: Run, new: Run) -> Iterator[tuple[str, float]]:
    """For each tensor whose values both runs kept, its key and max |new − old| over max |old|, or
    over 1 if old is all zeros; in extended precision. Raises BadRun."""
    with open_pairs(old, new) as pairs:
        for *key, _, old_format, new_format in pairs.connection.execute(_TENSORS):
            largest = difference = np.longdouble(0)
            for parts in pairs.connection.execute(_PARTS, key):
                a, b = map(_numbers, parts, (old_format, new_format))
                if a.shape != b.shape:
                    raise ValueError("a kept tensor has parts of other sizes")
                if a.size:
                    with np.errstate(invalid="ignore"):
                        largest = np.maximum(largest, np.abs(a).max())
                        difference = np.maximum(difference, np.abs(b - a).max())
            with np.errstate(invalid="ignore"):
                size = float(difference / (largest or 1))
            yield " ".join(key), size


def kept_tensors(run: Run, case: str) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors that a run kept of a case, by name. Raises BadRun."""
    yield from _kept(run, _OF_CASE, case)


def kept_values(run: Run, key: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors that a run kept of one result, by name. Raises BadRun."""
    yield from _kept(run, _OF_RESULT, *key)


def _kept(run: Run, query: str, *key: str) -> Iterator[tuple[str, np.ndarray]]:
    with connection_to(run) as connection:
        rows = connection.execute(query, key)
        for name, parts in groupby(rows, key=lambda row: row[0]):
            _, shapes, formats, contents = zip(*parts, strict=True)
            values = np.concatenate(list(map(_stored, contents, formats)))
            if type(shapes[0]) is not str or len({*shapes, *formats}) > 2:
                raise ValueError("a kept tensor has parts of different shapes or types")
            yield name, values.reshape([int(n) for n in shapes[0].split()])


def _numbers(content: Any, format: Any) -> np.ndarray:
    """A part of a tensor in extended precision. Raises ValueError."""
    return _stored(content, format).astype(np.longdouble)


def _stored(content: Any, format: Any) -> np.ndarray:
    """A part of a tensor as it was kept. Raises ValueError."""
    if format not in _FORMATS or type(content) is not bytes:
        raise ValueError("a kept tensor is not an array of real numbers")
    values = np.frombuffer(content, format)
    if values.size > PART:
        raise ValueError("a kept tensor has parts of other sizes")
    return values
