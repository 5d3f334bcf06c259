"""Point 15: a row in the batch gives what it gives alone."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .arguments import require_functions, require_tensors
from .calls import Caller
from .check_result import CheckResult
from .comparison import require_numbers
from .replacement import other_values
from .truth import LIMIT, known_net, measure
from .values import output_tensor

LARGEST_ROWS = 8  # that are looked at, the first ones


def row_alone(
    model: Callable[[Tensor], Any], x: Tensor, *, batch_first: bool = True
) -> CheckResult:
    """(15) A row in the batch gives what the same row gives alone.

    The model runs in evaluation mode, and a state that it keeps is put back after each call. If it
    is an nn.RNN, nn.GRU or nn.LSTM, its outputs are judged by the reference, in units of rounding
    noise, R; otherwise the bound is 1000 · eps of the largest magnitude, in half types
    16 · eps.

    Args:
        model: model(x) -> a result per row or per row and step, [B, ·], [B, T, ·] or flattened,
            alone, in a tuple, or in a dict or object.
        x: numbers [B, T, D] or [B, T], or tokens [B, T], B ≥ 2; with batch_first=False
            [T, B, ·].
        batch_first: whether the first axis of x holds the rows. This says what you mean; a model
            that takes the axes otherwise fails.

    Returns:
        Holds: each row is the same alone and in the batch, and does not change when the other rows
        do. Fails: names the rows that differ, and time taken for batch where that is the cause; or
        R above 16.

    Raises:
        ValueError: fewer than two rows; the results are NaN, random, the same for all rows, or not
            one per row.
        TypeError: the model does not return a tensor, or a tuple, dict or object with one.
    """
    require_functions(model=model)
    require_tensors(x=x)
    axis = 0 if batch_first else 1
    if x.dim() < 2 or x.shape[axis] < 2:
        raise ValueError(f"Expected x of two rows or more, got {list(x.shape)}.")
    caller = Caller(model)
    B = x.shape[axis]
    output = output_tensor(caller(x))
    require_numbers([output], "the model")
    caller.require_repeatable(x)
    alone = [output_tensor(caller(_row(x, axis, b))) for b in range(min(B, LARGEST_ROWS))]
    rows = _rows(output, alone[0], B, batch_first)
    failures = [_rows_are_steps(caller, x, output, axis)] if rows is None else []
    measured = "within 1000 eps" if caller.eps < 1e-4 else "within 16 eps of its half type"
    net = known_net(model, x)
    R = math.nan
    if net is not None and rows is not None:
        R = measure(net, x, output, batch_first)
        R = max(R, measure(net, *_together(x, alone, axis), batch_first))
        measured = f"R = {R:.2g}, where above {LIMIT:g} is a fault"
    if rows is not None:
        failures += _differing(caller, x, axis, rows, alone, agree=R <= LIMIT)
        if R > LIMIT and not failures:
            failures.append(f"the batch differs from the truth: {measured}")
    return CheckResult.from_failures(
        15,
        "a row in the batch gives what it gives alone",
        failures,
        f"{len(alone)} rows give the same alone and beside other rows, {measured}",
    )


def _row(x: Tensor, axis: int, b: int) -> Tensor:
    return x.narrow(axis, b, 1)


def _together(x: Tensor, alone: list[Tensor], axis: int) -> tuple[Tensor, Tensor]:
    """The rows that ran alone, and their outputs."""
    return x.narrow(axis, 0, len(alone)), torch.cat(alone, dim=axis)


def _rows(output: Tensor, alone: Tensor, B: int, batch_first: bool) -> list[Tensor] | None:
    """The result of each row in the shape that it has alone; None if no axis follows the rows."""
    if output.dim() != alone.dim():
        return None
    axes = [a for a, (n, m) in enumerate(zip(output.shape, alone.shape, strict=True)) if n != m]
    if len(axes) != 1 or output.shape[axes[0]] != B * alone.shape[axes[0]]:
        return None
    (axis,) = axes
    steps = alone.shape[axis]  # 1, or T of an output flattened
    split = (B, steps) if batch_first else (steps, B)
    parts = output.unflatten(axis, split)
    return [parts.select(axis + (not batch_first), b).reshape(alone.shape) for b in range(B)]


def _rows_are_steps(caller: Caller, x: Tensor, output: Tensor, axis: int) -> str:
    """The failure that the result has a row for each step. Raises ValueError if it has not."""
    T = x.shape[1 - axis]
    if output.dim() and T > 1:
        shorter = output_tensor(caller(x.narrow(1 - axis, 0, T - 1)))
        if shorter.dim() == output.dim() and len(output) == T and len(shorter) == T - 1:
            shape = list(output.shape)
            return f"the result {shape} has a row for each of {T} steps: {_mistaken(axis)}"
    raise ValueError(
        f"Expected a result for each of {x.shape[axis]} rows, got {list(output.shape)}, of which "
        "no axis follows the number of rows."
    )


def _differing(
    caller: Caller,
    x: Tensor,
    axis: int,
    rows: list[Tensor],
    alone: list[Tensor],
    agree: bool,
) -> list[str]:
    """The rows that differ alone, unless truth says that they agree; or that change with others."""
    pairs = [] if agree else zip(rows, alone, strict=False)
    changes = [caller.disagreement(row, one) for row, one in pairs]
    differing = [b for b, change in enumerate(changes) if change]
    if differing:
        mistaken = _second_axis_is_batch(caller, x, axis, rows)
        cause = _mistaken(axis) if mistaken else f"rows are mixed{_swapped_axes(caller, x, axis)}"
        return [
            f"row {b} differs by {changes[b]:.2g} from the row alone: {cause}"
            for b in differing[:3]
        ]
    seen = False
    for b, row in enumerate(alone):
        changed_x = other_values(x)
        changed_x.select(axis, b).copy_(x.select(axis, b))
        output = output_tensor(caller(changed_x))
        changed = _rows(output, row, len(rows), axis == 0)
        if changed is None:
            raise ValueError("Expected results of one shape, got a shape that depends on the rows.")
        if change := caller.change(changed[b], rows[b]):
            return [f"other rows change row {b} by {change:.2g}: rows are mixed"]
        seen |= any(caller.difference(changed[k], rows[k]) > 0 for k in range(len(rows)) if k != b)
    if not seen:
        raise ValueError(
            "Expected results that depend on x, got results that do not: nothing can be seen."
        )
    return []


def _second_axis_is_batch(caller: Caller, x: Tensor, axis: int, rows: list[Tensor]) -> bool:
    """Whether the result changes only at the step whose inputs change, in later rows too."""
    T = x.shape[1 - axis]
    if T < 2 or rows[0].dim() < 2 or rows[0].shape[1 - axis] != T:
        return False
    changed_x = x.clone()
    changed_x.select(1 - axis, 0).copy_(other_values(x).select(1 - axis, 0))
    changed = _rows(output_tensor(caller(changed_x)), rows[0], len(rows), axis == 0)
    return changed is not None and all(
        torch.equal(a.narrow(1 - axis, 1, T - 1), e.narrow(1 - axis, 1, T - 1))
        for a, e in zip(changed, rows, strict=True)
    )


def _swapped_axes(caller: Caller, x: Tensor, axis: int) -> str:
    """The recurrent module that gets rows and steps on the other axes than it expects, as a clause;
    empty if there is none, or if rows and steps are equal in number."""
    B, T = x.shape[axis], x.shape[1 - axis]
    given: dict[nn.Module, tuple[int, ...]] = {}

    def note(module: nn.Module, args: tuple[object, ...]) -> None:
        if args and isinstance(args[0], Tensor):
            given.setdefault(module, tuple(args[0].shape[:2]))

    names = {m: name for root in caller.modules for name, m in root.named_modules()}
    nets = [m for m in names if isinstance(m, nn.RNNBase)]
    handles = [net.register_forward_pre_hook(note) for net in nets]
    try:
        caller(x)
    finally:
        for handle in handles:
            handle.remove()
    for net in nets:
        expected = (B, T) if net.batch_first else (T, B)
        if B != T and given.get(net) == expected[::-1]:
            layout = "[T, B, ·]" if net.batch_first else "[B, T, ·]"
            option = "with" if net.batch_first else "without"
            return (
                f", because {names[net] or type(net).__name__} gets {layout} {option} batch_first"
            )
    return ""


def _mistaken(axis: int) -> str:
    if axis == 0:
        return "time is taken for the batch, as without batch_first"
    return "the batch is taken for time, as with batch_first"
