"""How a batch lies in memory: every layout is a set of packed rows, and back.

    batched    [T, B, ·], or [B, T, ·] with batch_first      rows [T·B, ·], step by step
    unbatched  [T, ·]                                        rows [T, ·], one sequence
    packed     a PackedSequence                              its data, longest sequence first

States are [L·D, B, ·] ([L·D, ·] unbatched), whatever batch_first says; those that accompany packed
data are permuted with its sequences.

Page: docs/nets/modules.md
"""

from typing import Any, NamedTuple

import numpy as np

from ..sequences.packing import PackedSequence


class Layout(NamedTuple):
    """One batch's layout: what turns its arrays into rows, and rows into arrays like it."""

    batch_sizes: np.ndarray
    batch_axis: int | None  # of an array [T, B, ·] or [B, T, ·]; None where there is none
    packed: PackedSequence | None

    def batch(self) -> tuple[int, ...]:
        """(B,), or () of an unbatched input."""
        return () if self.packed is self.batch_axis is None else (int(self.batch_sizes[0]),)

    def shape(self, width: int) -> tuple[int, ...]:
        """Of an array in this layout with `width` features; packed, of its data."""
        if self.packed is not None:
            return (len(self.packed.data), width)
        steps, batch = (len(self.batch_sizes),), self.batch()
        return (*batch, *steps, width) if self.batch_axis == 0 else (*steps, *batch, width)

    def to_rows(self, value: Any) -> np.ndarray:
        """Rows [N, ·] of an array or PackedSequence in this layout."""
        if self.packed is not None:
            return value.data
        if self.batch_axis is None:
            return value
        return value.swapaxes(0, 1 - self.batch_axis).reshape(-1, value.shape[2])

    def from_rows(self, rows: np.ndarray) -> Any:
        """The array or PackedSequence whose rows these are."""
        if self.packed is not None:
            return self.packed._replace(data=rows)
        if self.batch_axis is None:
            return rows
        T, B = len(self.batch_sizes), int(self.batch_sizes[0])
        return rows.reshape(T, B, rows.shape[1]).swapaxes(0, 1 - self.batch_axis)

    def state_to_rows(self, state: np.ndarray) -> np.ndarray:
        """[L·D, B, ·] in the order of the rows."""
        if self.packed is not None and self.packed.sorted_indices is not None:
            return state[:, self.packed.sorted_indices]
        return state if state.ndim == 3 else state[:, None]

    def state_from_rows(self, state: np.ndarray) -> np.ndarray:
        """The inverse of `state_to_rows`."""
        if self.packed is not None and self.packed.unsorted_indices is not None:
            return state[:, self.packed.unsorted_indices]
        unbatched = self.packed is None and self.batch_axis is None
        return state[:, 0] if unbatched else state


def read_only(value: np.ndarray) -> np.ndarray:
    """The same memory, seen so that writing raises ValueError: a tape may hold it, too."""
    view = value.view()
    view.flags.writeable = False
    return view


def layout_of(x: np.ndarray | PackedSequence, batch_first: bool) -> Layout:
    """The layout of an input; batch_first speaks of arrays [B, T, ·] alone."""
    if isinstance(x, PackedSequence):
        return Layout(x.batch_sizes, None, x)
    if x.ndim == 2:
        return Layout(np.ones(len(x), dtype=np.intp), None, None)
    batch_axis = 0 if batch_first else 1
    T, B = x.shape[1 - batch_axis], x.shape[batch_axis]
    return Layout(np.full(T, B, dtype=np.intp), batch_axis, None)
