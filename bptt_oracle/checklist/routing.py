"""Points 8 and 9: a new stream knows nothing of the old one, and states follow their streams."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .verdict import Verdict, first, gap, parts, verdict


def reset_leak(
    step: Callable[[Tensor, Any, Tensor], object], x: Tensor, state: Any, reset: Tensor
) -> Verdict:
    """(8) `step(x, state, reset)` starts anew in the rows where `reset` [B] is True, only there.

    x [B, T, ·] and outputs [B, T, ·], batch first; state [L, B, H] or a pair. Rows that begin must
    not move when the state does, even if it is NaN; rows that go on must.
    Raises ValueError unless some rows begin and some go on.
    """
    if reset.all() or not reset.any():
        raise ValueError("Expected rows that begin and rows that go on, got only one of them.")
    rows = reset[:, None]
    other = [torch.where(rows, s, s + 1) for s in parts(state)]
    begun = [torch.where(rows, s + 1, s) for s in parts(state)]
    spoilt = [torch.where(rows, torch.nan, s) for s in parts(state)]
    with torch.no_grad():
        output = first(step(x, state, reset))
        going = first(step(x, _like(state, other), reset))
        leaking = first(step(x, _like(state, begun), reset))
        nan = first(step(x, _like(state, spoilt), reset))
    leak, dirt = gap(leaking[reset], output[reset]), gap(nan[reset], output[reset])
    faults = []
    if leak:
        faults.append(f"the old stream's state moves the new one by {leak:.2g}")
    if dirt and not leak:
        faults.append("NaN in the old stream survives the reset: select, do not multiply by 0")
    if not gap(going[~reset], output[~reset]):
        faults.append("rows that go on do not read their state: they were reset too")
    return verdict(
        8, "a reset row begins anew", faults, f"{int(reset.sum())} rows began, others went on"
    )


def routing(
    new: Callable[[], Callable[[Sequence[int], Tensor], object]], one: Tensor, two: Tensor
) -> Verdict:
    """(9) States follow stream ids, not batch rows.

    `new()` gives a step with no history: step(ids, x) -> output [B, T, ·], which keeps the states
    of the streams it has met. `one` and `two` are two chunks [B, T, ·] of B streams.
    Raises ValueError for fewer than two streams.
    """
    B = len(one)
    if B < 2:
        raise ValueError(f"Expected two streams or more, got {B}.")
    ids = list(range(B))
    turned = [*ids[1:], 0]
    with torch.no_grad():
        straight, swapped, fresh, strange = new(), new(), new(), new()
        straight(ids, one)
        expected = first(straight(ids, two))
        swapped(ids, one)
        found = first(swapped(turned, two[turned]))
        strange(ids, one)
        unknown = [i + B for i in ids]
        begun = first(strange(unknown, two))
        beginning = first(fresh(unknown, two))
    faults = []
    if moved := gap(found, expected[turned]):
        faults.append(f"streams that change rows change results, by {moved:.2g}")
    if inherited := gap(begun, beginning):
        faults.append(f"a new stream in a used row inherits its state: {inherited:.2g} away")
    if not gap(expected, first(new()(ids, two))):
        faults.append("no state is kept at all: the second chunk knows nothing of the first")
    return verdict(
        9, "the state belongs to the stream, not to the row", faults, f"{B} streams changed rows"
    )


def _like(state: Any, arrays: list[Tensor]) -> Any:
    return tuple(arrays) if isinstance(state, tuple | list) else arrays[0]
