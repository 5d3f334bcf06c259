"""Points 8 and 9: a new stream does not depend on the old one, and states follow their streams."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .check_result import CheckResult, difference, output_tensor, state_tensors


def reset_leak(
    step: Callable[[Tensor, Any, Tensor], object], x: Tensor, state: Any, reset: Tensor
) -> CheckResult:
    """(8) A row that is reset starts from a fresh state, and the other rows keep theirs.

    Args:
        step: step(x, state, reset) -> output [B, T, ·], alone or in a tuple with a state: your
            reset followed by your model; deterministic.
        x: [B, T] tokens or [B, T, D] numbers, batch first.
        state: [L, B, H] of a floating dtype, or a pair (h, c).
        reset: [B], bool, True in the rows where a new stream begins.

    Returns:
        Holds: in reset rows the output is the same whatever the old state is, NaN included; in the
        other rows it depends on the state. Fails: reports a leak, a reset by multiplication (which
        keeps NaN), or rows that were reset although they continue.

    Raises:
        ValueError: no row is reset, or all are.
        TypeError: `step` does not return a tensor, or a tuple that begins with one.
    """
    if reset.all() or not reset.any():
        raise ValueError("Expected rows that are reset and rows that continue, got only one kind.")
    rows = reset[:, None]
    tensors = state_tensors(state)
    continuing_changed = [torch.where(rows, s, s + 1) for s in tensors]
    reset_changed = [torch.where(rows, s + 1, s) for s in tensors]
    reset_nan = [torch.where(rows, torch.nan, s) for s in tensors]
    with torch.no_grad():
        output = output_tensor(step(x, state, reset))
        output_continuing = output_tensor(step(x, _like(state, continuing_changed), reset))
        output_changed = output_tensor(step(x, _like(state, reset_changed), reset))
        output_nan = output_tensor(step(x, _like(state, reset_nan), reset))
    leak = difference(output_changed[reset], output[reset])
    nan_leak = difference(output_nan[reset], output[reset])
    failures = []
    if leak:
        failures.append(f"the old stream's state changes the output of the new one by {leak:.2g}")
    if nan_leak and not leak:
        failures.append("NaN in the old state survives the reset: select, do not multiply by 0")
    if not difference(output_continuing[~reset], output[~reset]):
        failures.append("rows that continue do not read their state: they were reset too")
    return CheckResult.from_failures(
        8,
        "a reset row starts from a fresh state",
        failures,
        f"{int(reset.sum())} rows were reset, the others continued",
    )


def routing(
    new_step: Callable[[], Callable[[Sequence[int], Tensor], object]],
    first_chunk: Tensor,
    second_chunk: Tensor,
) -> CheckResult:
    """(9) States follow stream ids, not batch rows.

    Args:
        new_step: new_step() -> step, a function without history. step(ids, x) -> output [B, T, ·],
            alone or in a tuple; it keeps the states of the streams it has processed, by id.
        first_chunk: [B, T] tokens or [B, T, D] numbers of B ≥ 2 streams, batch first.
        second_chunk: the next chunk of the same streams, with the same shape and dtype.

    Returns:
        Holds: streams that change rows between the chunks give the same results, and a new stream
        in a used row starts without history. Fails: reports which of these is violated and by how
        much, or that no state is kept at all.

    Raises:
        ValueError: fewer than two streams.
        TypeError: a step does not return a tensor, or a tuple that begins with one.
    """
    B = len(first_chunk)
    if B < 2:
        raise ValueError(f"Expected two or more streams, got {B}.")
    ids = list(range(B))
    rotated = [*ids[1:], 0]
    new_ids = [i + B for i in ids]
    with torch.no_grad():
        same_rows, other_rows, used, unused = new_step(), new_step(), new_step(), new_step()
        same_rows(ids, first_chunk)
        expected = output_tensor(same_rows(ids, second_chunk))
        other_rows(ids, first_chunk)
        actual = output_tensor(other_rows(rotated, second_chunk[rotated]))
        used(ids, first_chunk)
        in_used_rows = output_tensor(used(new_ids, second_chunk))
        without_history = output_tensor(unused(new_ids, second_chunk))
        second_only = output_tensor(new_step()(ids, second_chunk))
    failures = []
    if change := difference(actual, expected[rotated]):
        failures.append(f"streams that change rows change their results, by {change:.2g}")
    if leak := difference(in_used_rows, without_history):
        failures.append(f"a new stream in a used row inherits its state: it differs by {leak:.2g}")
    if not difference(expected, second_only):
        failures.append("no state is kept: the second chunk does not depend on the first")
    return CheckResult.from_failures(
        9, "states follow streams, not rows", failures, f"{B} streams changed rows"
    )


def _like(state: object, tensors: list[Tensor]) -> Any:
    """The tensors as a tuple or as a single tensor, as the state is."""
    return tuple(tensors) if isinstance(state, tuple | list) else tensors[0]
