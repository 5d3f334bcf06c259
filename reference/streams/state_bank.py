"""A bounded store of states by stream id: a batch row is only where a stream happens to lie.

    state, new = bank.get(ids)          rows in the order of ids; new where an id is unknown
    output, state, tape = net.forward(params, x, state)
    evicted = bank.put(ids, state)

What is kept is a value: no gradient crosses the bank. For an initial state that learns, put it in
place of the new rows, `streams.reset(state, new, init)`, whose adjoint sums its gradient.

Page: docs/streams/streams.md
"""

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np

from ..nets.state import join_state, split_state


class StateBank:
    """At most `capacity` streams; the one put longest ago goes first, and is unknown again."""

    def __init__(self, initial: Any, capacity: int) -> None:
        """An empty bank. An unknown stream has the state `initial` [L, 1, H], or a pair of them.

        Raises ValueError for a capacity that is no integer of at least 1.
        """
        if not isinstance(capacity, (int, np.integer)) or capacity < 1:
            raise ValueError(f"Expected a capacity, an integer of at least 1, got {capacity!r}.")
        self.initial = initial
        self.capacity = capacity
        self.rows: dict[Hashable, list[np.ndarray]] = {}  # in the order they were put

    def get(self, ids: Iterable[Hashable]) -> tuple[Any, np.ndarray]:
        """The state [L, B, H] of these streams, and new [B], True where one is unknown.

        Raises ValueError for no id at all, and for the same id twice.
        """
        stream_ids = _distinct(ids)
        rows = [self.rows.get(i, split_state(self.initial)) for i in stream_ids]
        state = [np.concatenate(part, axis=1) for part in zip(*rows, strict=True)]
        return join_state(state), np.array([i not in self.rows for i in stream_ids])

    def put(self, ids: Iterable[Hashable], state: Any) -> list[Hashable]:
        """Keep a copy of each row of `state` under its id; returns the ids that had to go.

        Raises ValueError for no id, the same id twice, more ids than the capacity, or a state
        that is not shaped and typed like `initial`; the bank is then as it was.
        """
        stream_ids = _distinct(ids)
        if len(stream_ids) > self.capacity:
            raise ValueError(
                f"Expected at most {self.capacity} ids at once, the bank's capacity, "
                f"got {len(stream_ids)}."
            )
        B = len(stream_ids)
        expected = [f"{p.dtype} {[len(p), B, *p.shape[2:]]}" for p in split_state(self.initial)]
        given = [f"{p.dtype} {list(p.shape)}" for p in split_state(state)]
        if given != expected:
            raise ValueError(
                f"Expected a state of {' and '.join(expected)} for {B} ids, "
                f"got {' and '.join(given)}."
            )
        for row, i in enumerate(stream_ids):
            self.rows.pop(i, None)  # put again, it is the youngest again
            self.rows[i] = [p[:, row : row + 1].copy() for p in split_state(state)]
        evicted = list(self.rows)[: max(len(self.rows) - self.capacity, 0)]
        self.drop(evicted)
        return evicted

    def drop(self, ids: Iterable[Hashable]) -> None:
        """Forget these streams; an id that is unknown already is no mistake."""
        for i in ids:
            self.rows.pop(i, None)


def _distinct(ids: Iterable[Hashable]) -> list[Hashable]:
    rows = list(ids)
    if not rows:
        raise ValueError("Expected at least one stream id, got none.")
    if len(set(rows)) < len(rows):
        twice = next(i for i in rows if rows.count(i) > 1)
        raise ValueError(
            f"Stream {twice!r} stands in rows {[r for r, i in enumerate(rows) if i == twice]} of "
            "one batch; expected each stream once, or its states would overwrite each other."
        )
    return rows
