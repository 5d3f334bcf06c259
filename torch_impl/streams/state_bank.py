"""A bounded store of detached states by stream id."""

from collections.abc import Hashable, Iterable

import torch
from torch import Tensor

from ..nets.state import State, join_state, split_state


class StateBank:
    """The states of at most `capacity` streams; the stream put longest ago is evicted first."""

    def __init__(self, initial: State, capacity: int) -> None:
        """An empty bank. A new stream has the state `initial` [L, 1, H], or a pair of them."""
        if capacity < 1:
            raise ValueError(f"Expected a capacity of at least 1, got {capacity}.")
        self.initial = initial
        self.capacity = capacity
        self.rows: dict[Hashable, tuple[Tensor, ...]] = {}

    def get(self, ids: Iterable[Hashable]) -> tuple[State, Tensor]:
        """The state [L, B, H] of these streams, and new [B], True where the bank has no state."""
        keys = _distinct(ids)
        rows = [self.rows.get(i, split_state(self.initial)) for i in keys]
        state = tuple(torch.cat(part, dim=1) for part in zip(*rows, strict=True))
        new = torch.tensor([i not in self.rows for i in keys])
        return join_state(state), new

    def put(self, ids: Iterable[Hashable], state: State) -> list[Hashable]:
        """Store each row of `state` under its id, detached; returns the evicted ids.

        Raises ValueError if ids repeat, exceed the capacity, or do not fit the state.
        """
        keys = _distinct(ids)
        if len(keys) > self.capacity:
            raise ValueError(
                f"Expected at most {self.capacity} ids at once, the bank's capacity, "
                f"got {len(keys)}."
            )
        for field, initial in zip(split_state(state), split_state(self.initial), strict=True):
            expected = (initial.shape[0], len(keys), initial.shape[2])
            if field.shape != expected or field.dtype != initial.dtype:
                raise ValueError(
                    f"Expected a state {initial.dtype} {list(expected)}, "
                    f"got {field.dtype} {list(field.shape)}."
                )
        for row, i in enumerate(keys):
            self.rows.pop(i, None)
            self.rows[i] = tuple(s[:, row : row + 1].detach().clone() for s in split_state(state))
        evicted = list(self.rows)[: max(len(self.rows) - self.capacity, 0)]
        self.drop(evicted)
        return evicted

    def drop(self, ids: Iterable[Hashable]) -> None:
        """Remove these streams; ids that are not in the bank are ignored."""
        for i in ids:
            self.rows.pop(i, None)


def _distinct(ids: Iterable[Hashable]) -> list[Hashable]:
    """The ids, tensors as numbers, because two equal tensors are two keys of a dict.

    Raises ValueError if there is none, or one repeats.
    """
    keys = [i.item() if isinstance(i, Tensor) else i for i in ids]
    if not keys or len(set(keys)) < len(keys):
        raise ValueError(f"Expected each stream once in a batch, and at least one, got {keys}.")
    return keys
