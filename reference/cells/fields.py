"""Named tuples of arrays: the same rows of every field, and sums field by field.

Page: docs/cells/table.md
"""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

import numpy as np

Rows = slice | np.ndarray


class Fields(Protocol):
    """A NamedTuple whose fields are arrays or None: Params, State, Tape, Delta of a cell."""

    def __iter__(self) -> Iterator[np.ndarray | None]: ...

    @classmethod
    def _make(cls: "type[Same]", iterable: Iterable[np.ndarray | None]) -> "Same": ...


Same = TypeVar("Same", bound=Fields)


def make(like: Same, values: Iterable[np.ndarray | None]) -> Same:
    """A tuple of the type of `like` with these fields."""
    return like._make(values)


def copy(fields: Same) -> Same:
    """A copy of every field; None stays None."""
    return fields._make([None if f is None else f.copy() for f in fields])


def rows_of(fields: Same, rows: Rows) -> Same:
    """The rows [..., rows, :] of every field, as views if `rows` is a slice; None stays None."""
    return fields._make([None if f is None else f[..., rows, :] for f in fields])


def add(a: Same, b: Same) -> Same:
    """The sum of two tuples, field by field; None stays None."""
    pairs = zip(a, b, strict=True)
    return a._make([None if p is None or q is None else p + q for p, q in pairs])
