"""A bounded store of states by stream id, because the batch row of a stream can change.

    state, new = bank.get(ids)          rows in the order of ids; new is True for an unknown id
    output, state, tape = net.forward(params, x, state)
    evicted = bank.put(ids, state)

The bank stores values: no gradient crosses it. For a learned initial state, select it in the new
rows with `resets.reset(state, new, init)`, whose adjoint `reset_back` sums its gradient.

Page: docs/streams/streams.md
"""

from collections.abc import Hashable, Iterable

import numpy as np

from ..arrays import check_array
from ..nets.state import State, join_state, split_state


class StateBank:
    """At most `capacity` streams; the stream put least recently is evicted, and is then unknown."""

    def __init__(self, initial: State, capacity: int) -> None:
        """An empty bank. An unknown stream has the state `initial` [L, 1, H], or a pair of them.

        Raises ValueError for a capacity that is not an integer of at least 1 and for an initial
        state of another shape, TypeError for one that is not made of arrays.
        """
        for part in split_state(initial):
            array = check_array("the initial state", part, TypeError)
            if array.ndim != 3 or array.shape[1] != 1:
                raise ValueError(
                    f"Expected an initial state [L, 1, H], one row for every stream, got "
                    f"{list(array.shape)}."
                )
        if not isinstance(capacity, (int, np.integer)) or capacity < 1:
            raise ValueError(f"Expected a capacity, an integer of at least 1, got {capacity!r}.")
        self.initial = initial
        self.capacity = capacity
        self.rows: dict[Hashable, list[np.ndarray]] = {}  # in the order they were put

    def get(self, ids: Iterable[Hashable]) -> tuple[State, np.ndarray]:
        """The state [L, B, H] of these streams, and new [B], True for an unknown stream.

        Raises ValueError for an empty `ids`, and for the same id twice; TypeError for an id that
        has no hash.
        """
        stream_ids = _distinct_ids(ids)
        rows = [self.rows.get(i, split_state(self.initial)) for i in stream_ids]
        state = [np.concatenate(part, axis=1) for part in zip(*rows, strict=True)]
        return join_state(state), np.array([i not in self.rows for i in stream_ids])

    def put(self, ids: Iterable[Hashable], state: State) -> list[Hashable]:
        """Store a copy of each row of `state` under its id; return the ids that were evicted.

        Raises ValueError for an empty `ids`, the same id twice, more ids than the capacity, or a
        state with other shapes or dtypes than `initial`, TypeError for a state that is not made
        of arrays and for an id that has no hash; the bank is then unchanged.
        """
        stream_ids = _distinct_ids(ids)
        if len(stream_ids) > self.capacity:
            raise ValueError(
                f"Expected at most {self.capacity} ids at once, the bank's capacity, "
                f"got {len(stream_ids)}."
            )
        B = len(stream_ids)
        for part in split_state(state):
            check_array("state", part, TypeError)
        expected = [f"{p.dtype} {[len(p), B, *p.shape[2:]]}" for p in split_state(self.initial)]
        actual = [f"{p.dtype} {list(p.shape)}" for p in split_state(state)]
        if actual != expected:
            raise ValueError(
                f"Expected a state of {' and '.join(expected)} for {B} ids, "
                f"got {' and '.join(actual)}."
            )
        for row, i in enumerate(stream_ids):
            self.rows.pop(i, None)  # so that a stream put again becomes the most recent
            self.rows[i] = [p[:, row : row + 1].copy() for p in split_state(state)]
        evicted = list(self.rows)[: max(len(self.rows) - self.capacity, 0)]
        self.drop(evicted)
        return evicted

    def drop(self, ids: Iterable[Hashable]) -> None:
        """Forget these streams; an unknown id is ignored."""
        for i in ids:
            self.rows.pop(i, None)


def _distinct_ids(ids: Iterable[Hashable]) -> list[Hashable]:
    rows = list(ids)
    if not rows:
        raise ValueError("Expected at least one stream id, got none.")
    for i in rows:
        try:
            hash(i)
        except TypeError:
            raise TypeError(
                f"Expected stream ids that can be keys of a dict, got {type(i).__name__}: use "
                "numbers, strings or tuples."
            ) from None
    if len(set(rows)) < len(rows):
        twice = next(i for i in rows if rows.count(i) > 1)
        places = [r for r, i in enumerate(rows) if i == twice]
        raise ValueError(
            f"Expected each stream once in a batch, got stream {twice!r} in rows {places}: its "
            "states would overwrite each other."
        )
    return rows
