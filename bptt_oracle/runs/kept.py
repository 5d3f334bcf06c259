"""The tensors whose values both runs kept: how far they differ."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .pairs import open_pairs
from .run import Run
from .schema import KEY, PART

_SAME = " AND ".join(f"b.{name} = a.{name}" for name in (*KEY.split(", "), "tensor"))
_TENSORS = (
    f"SELECT {KEY}, tensor, a.shape, a.format, b.format FROM main.kept a "
    f"CROSS JOIN new.kept b USING ({KEY}, tensor) "
    "WHERE a.part = 0 AND b.part = 0 AND a.shape = b.shape ORDER BY 1, 2, 3, 4"
)
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


def _numbers(content: Any, format: Any) -> np.ndarray:
    """A part of a tensor in extended precision. Raises ValueError."""
    return _stored(content, format).astype(np.longdouble)


def _stored(content: Any, format: Any) -> np.ndarray:
    """A part of a tensor as it was kept. Raises ValueError."""
    if format not in ("<f2", "<f4", "<f8") or type(content) is not bytes:
        raise ValueError("a kept tensor is not an array of floating-point numbers")
    values = np.frombuffer(content, format)
    if values.size > PART:
        raise ValueError("a kept tensor has parts of other sizes")
    return values
