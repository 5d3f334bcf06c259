"""The layouts of a batch, each converted to packed rows and back.

    batched    [T, B, ·], or [B, T, ·] with batch_first      rows [T·B, ·], step by step
    unbatched  [T, ·]                                        rows [T, ·], one sequence
    packed     a PackedSequence                              its data, the longest sequence first

States are [L·D, B, ·] ([L·D, ·] unbatched), with or without batch_first; states of a packed batch
are permuted like its sequences.

Page: docs/nets/modules.md
"""

from typing import Any, NamedTuple

import numpy as np

from ..sequences.packing import PackedSequence


class Layout(NamedTuple):
    """The layout of a batch: converts arrays in it to rows and back."""

    batch_sizes: np.ndarray
    batch_axis: int | None  # 1 of [T, B, ·], 0 of [B, T, ·]; None if unbatched or packed
    packed: PackedSequence | None

    def batch(self) -> tuple[int, ...]:
        """(B,), or () for an unbatched input."""
        unbatched = self.packed is None and self.batch_axis is None
        return () if unbatched else (int(self.batch_sizes[0]),)

    def shape(self, width: int) -> tuple[int, ...]:
        """The shape of an array in this layout with `width` features; if packed, of its data."""
        if self.packed is not None:
            return (len(self.packed.data), width)
        steps, batch = (len(self.batch_sizes),), self.batch()
        return (*batch, *steps, width) if self.batch_axis == 0 else (*steps, *batch, width)

    def to_rows(self, value: np.ndarray | PackedSequence) -> np.ndarray:
        """Rows [N, ·] of an array or PackedSequence in this layout."""
        if isinstance(value, PackedSequence):
            return value.data
        if self.batch_axis is None:
            return value
        rows: np.ndarray = value.swapaxes(0, 1 - self.batch_axis).reshape(-1, value.shape[2])
        return rows

    def from_rows(self, rows: np.ndarray) -> Any:
        """The array or PackedSequence in this layout with these rows [N, ·]."""
        if self.packed is not None:
            return self.packed._replace(data=rows)
        if self.batch_axis is None:
            return rows
        T, B = len(self.batch_sizes), int(self.batch_sizes[0])
        return rows.reshape(T, B, rows.shape[1]).swapaxes(0, 1 - self.batch_axis)

    def state_to_rows(self, state: np.ndarray) -> np.ndarray:
        """A state [L·D, B, ·], or [L·D, ·] unbatched, as [L·D, B, ·] in the order of the rows."""
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
    """A view into which writing raises ValueError, because a tape may hold the same memory."""
    view = value.view()
    view.flags.writeable = False
    return view


def layout_of(x: np.ndarray | PackedSequence, batch_first: bool) -> Layout:
    """The layout of an input; batch_first applies only to arrays with three axes."""
    if isinstance(x, PackedSequence):
        return Layout(x.batch_sizes, None, x)
    if x.ndim == 2:
        return Layout(np.ones(len(x), dtype=np.intp), None, None)
    batch_axis = 0 if batch_first else 1
    T, B = x.shape[1 - batch_axis], x.shape[batch_axis]
    return Layout(np.full(T, B, dtype=np.intp), batch_axis, None)
