"""Named tuples of arrays: the same rows of every field, and sums field by field.

Page: docs/cells/table.md
"""

from collections.abc import Iterable
from typing import TypeVar

import numpy as np

Fields = tuple[np.ndarray | None, ...]  # a NamedTuple: Params, State, Tape or Delta of a cell
Rows = slice | np.ndarray

Same = TypeVar("Same", bound=Fields)


def make(like: Same, values: Iterable[np.ndarray | None]) -> Same:
    """A named tuple of the type of `like` with these fields."""
    fields: Same = like._make(values)  # type: ignore[attr-defined]  # every NamedTuple has it
    return fields


def copy(fields: Same) -> Same:
    """A copy of every field; None stays None."""
    return make(fields, [None if f is None else f.copy() for f in fields])


def rows_of(fields: Same, rows: Rows) -> Same:
    """The rows [..., rows, :] of every field, as views if `rows` is a slice; None stays None."""
    return make(fields, [None if f is None else f[..., rows, :] for f in fields])


def add(a: Same, b: Same) -> Same:
    """The sum of two tuples, field by field; None stays None."""
    pairs = zip(a, b, strict=True)
    return make(a, [None if p is None or q is None else p + q for p, q in pairs])
