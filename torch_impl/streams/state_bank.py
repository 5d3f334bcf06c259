"""A bounded store of detached states by stream id."""

from collections.abc import Hashable, Iterable
from typing import Any

import torch
from torch import Tensor


class StateBank:
    """At most `capacity` streams; the one put longest ago goes first, and is unknown again."""

    def __init__(self, initial: Any, capacity: int) -> None:
        """An empty bank. An unknown stream has the state `initial` [L, 1, H], or a pair of them."""
        if capacity < 1:
            raise ValueError(f"Expected a capacity of at least 1, got {capacity}.")
        self.initial = initial
        self.capacity = capacity
        self.rows: dict[Hashable, tuple[Tensor, ...]] = {}

    def get(self, ids: Iterable[Hashable]) -> tuple[Any, Tensor]:
        """The state [L, B, H] of these streams, and new [B], True where one is unknown."""
        keys = _distinct(ids)
        rows = [self.rows.get(i, _parts(self.initial)) for i in keys]
        state = tuple(torch.cat(part, dim=1) for part in zip(*rows, strict=True))
        new = torch.tensor([i not in self.rows for i in keys])
        return (state if isinstance(self.initial, tuple) else state[0]), new

    def put(self, ids: Iterable[Hashable], state: Any) -> list[Hashable]:
        """Keep each row of `state` under its id, detached; returns the ids that had to go."""
        keys = _distinct(ids)
        if len(keys) > self.capacity:
            raise ValueError(
                f"Expected at most {self.capacity} ids at once, the bank's capacity, "
                f"got {len(keys)}."
            )
        for given, initial in zip(_parts(state), _parts(self.initial), strict=True):
            expected = (initial.shape[0], len(keys), initial.shape[2])
            if given.shape != expected or given.dtype != initial.dtype:
                raise ValueError(
                    f"Expected a state {initial.dtype} {list(expected)}, "
                    f"got {given.dtype} {list(given.shape)}."
                )
        for row, i in enumerate(keys):
            self.rows.pop(i, None)
            self.rows[i] = tuple(s[:, row : row + 1].detach().clone() for s in _parts(state))
        evicted = list(self.rows)[: max(len(self.rows) - self.capacity, 0)]
        self.drop(evicted)
        return evicted

    def drop(self, ids: Iterable[Hashable]) -> None:
        """Forget these streams; an id that is unknown already is no mistake."""
        for i in ids:
            self.rows.pop(i, None)


def _distinct(ids: Iterable[Hashable]) -> list[Hashable]:
    """The ids as values: two tensors that hold the same number are two keys of a dict."""
    keys = [i.item() if isinstance(i, Tensor) else i for i in ids]
    if not keys or len(set(keys)) < len(keys):
        raise ValueError(f"Expected each stream once in a batch, and at least one, got {keys}.")
    return keys


def _parts(state: Any) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)
