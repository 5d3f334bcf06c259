"""Point 8: a new stream in a row does not depend on the old one."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .arguments import require_functions, require_tensors
from .calls import Caller
from .check_result import CheckResult
from .comparison import require_numbers
from .replacement import replaced
from .values import batch_axis, map_tensors, output_tensor, state_tensors

LARGEST_STEPS = 16  # at which resets are looked at


def reset_leak(
    step: Callable[[Tensor, Any, Tensor], object],
    x: Tensor,
    state: Any,
    reset: Tensor,
    *,
    batch_first: bool = True,
) -> CheckResult:
    """(8) A row that is reset starts from a fresh state, and the other rows keep theirs.

    Args:
        step: step(x, state, reset) -> output [B, T, ·], alone, in a tuple with a state, or in a
            dict or object: your reset followed by your model. With reset [B] it may return [B, ·].
        x: [B, T] tokens or [B, T, D] numbers; with batch_first=False [T, B, ·], and so the output.
        state: [L, B, H] or [B, H] of a floating dtype, or a pair (h, c), or a tuple, list or dict.
        reset: [B], bool, True in the rows where a new stream begins; or of a rollout [T, B] or
            [B, T], True in the steps at which one begins, T ≠ B.
        batch_first: whether the first axis of x and of the output holds the rows.

    Returns:
        Holds: from a reset on, the output of the row is the same whatever its old state, earlier
        inputs and other rows are; without a reset it depends on the state. The evidence says
        whether NaN in the old state survives, as it does a multiplication by 0; of finite states
        that is a right reset. Fails: reports a leak, the step whose reset is ignored, or rows that
        were reset although they continue.

    Raises:
        ValueError: no row is reset, or all are; a rollout whose resets are all at the first step,
            so that later ones are not seen; the output is NaN, random, or depends on neither x nor
            the state; or the output has no axis of steps and reset has one.
        TypeError: `step` does not return a tensor, or a tuple, dict or object with one.
    """
    require_functions(step=step)
    require_tensors(x=x, reset=reset)
    if x.dim() < 2:
        raise ValueError(f"Expected x [B, T] or [B, T, D], got {list(x.shape)}.")
    if not batch_first:
        x, step = x.transpose(0, 1), _by_rows(step)
    by_row = _by_row(x, reset).to(x.device)
    rollout = _Rollout(step, x, state, reset, by_row)
    rollout.caller.require_repeatable(x, state, reset)
    require_numbers([rollout.output], "step")
    failures = [*_leaks(rollout), *_rows_reset_too(rollout)]
    evidence = f"{int(by_row.sum())} resets, and the other rows continued"
    if not failures and not _cuts_nan(rollout):
        evidence += (
            "; finite states are cut, NaN in the old state survives: select, do not multiply by 0, "
            "where states can be NaN"
        )
    return CheckResult.from_failures(8, "a reset row starts from a fresh state", failures, evidence)


def _by_rows(step: Callable[[Tensor, Any, Tensor], object]) -> Callable[..., Tensor]:
    """A step for x [T, B, ·] as one for [B, T, ·]."""

    def by_rows(x: Tensor, state: Any, reset: Tensor) -> Tensor:
        return output_tensor(step(x.transpose(0, 1), state, reset)).transpose(0, 1)

    return by_rows


class _Rollout:
    """The user's step, and its output with the given x and state."""

    def __init__(self, step: Any, x: Tensor, state: Any, reset: Tensor, by_row: Tensor) -> None:
        self.caller = Caller(step)
        self.x, self.state, self.reset, self.by_row = x, state, reset, by_row
        self.output = self(x, state)
        self.has_steps = self.output.dim() > 1 and self.output.shape[1] == x.shape[1]
        if not self.has_steps and by_row[:, 1:].any():
            raise ValueError(
                f"Expected outputs [B, T, ·] where reset has an axis of steps, got "
                f"{list(self.output.shape)}."
            )

    def __call__(self, x: Tensor, state: Any) -> Tensor:
        copies = map_tensors(lambda tensor: tensor.clone(), state)
        value = output_tensor(self.caller(x.clone(), copies, self.reset.clone()))
        if value.dim() < 1 or len(value) != len(self.x):
            raise ValueError(f"Expected outputs [B, T, ·], got {list(value.shape)}.")
        return value

    def from_step(self, output: Tensor, rows: Tensor, t: int) -> Tensor:
        return output[rows][:, t:] if self.has_steps else output[rows]

    def changed_state(self, rows: Tensor, value: float | None = None) -> Any:
        """The state with these rows changed, or filled with a value, in all its tensors."""

        def changed(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point() or not tensor.dim():
                return tensor
            axis = batch_axis(tensor, len(rows), 1 if tensor.dim() > 2 else 0)
            shape = [1] * tensor.dim()
            shape[axis] = len(rows)
            new = tensor + 1 if value is None else torch.full_like(tensor, value)
            return torch.where(rows.to(tensor.device).reshape(shape), new, tensor)

        if not state_tensors(self.state):
            raise ValueError("Expected a state of tensors of floating point, got none.")
        return map_tensors(changed, self.state)


def _by_row(x: Tensor, reset: Tensor) -> Tensor:
    """[B, T]: the resets of each row."""
    reset = reset.bool()
    B, T = x.shape[:2]
    if reset.dim() == 1 and len(reset) == B:
        if reset.all() or not reset.any():
            raise ValueError(
                "Expected rows that are reset and rows that continue, got only one kind."
            )
        return torch.cat([reset[:, None], reset.new_zeros(B, T - 1)], dim=1)
    if reset.dim() != 2 or B == T or reset.shape not in {(T, B), (B, T)}:
        raise ValueError(
            f"Expected reset [B], or [T, B] or [B, T] with T ≠ B, for x {list(x.shape)}, got "
            f"{list(reset.shape)}."
        )
    by_row = reset.T if reset.shape == (T, B) else reset
    if not by_row[:, 1:].any() or by_row[:, 1:].all():
        raise ValueError(
            "Expected resets at some of the later steps, got none or all: they cannot be seen."
        )
    return by_row


def _leaks(rollout: _Rollout) -> list[str]:
    """What of the time before a reset, or of other rows, changes the output after it."""
    by_row, x = rollout.by_row, rollout.x
    steps = [int(t) for t in by_row.any(dim=0).nonzero()[:LARGEST_STEPS, 0]]
    for t in steps:
        rows = by_row[:, t]
        expected = rollout.from_step(rollout.output, rows, t)
        earlier = torch.arange(x.shape[1], device=x.device) < t
        causes = {"the old stream's state": (x, rollout.changed_state(rows))}
        if t:
            before = replaced(x, rows[:, None] & earlier)
            causes["the old stream's inputs"] = (before, rollout.state)
        if not rows.all():
            causes["the state of other rows"] = (x, rollout.changed_state(~rows))
        for cause, (new_x, new_state) in causes.items():
            actual = rollout.from_step(rollout(new_x, new_state), rows, t)
            if leak := rollout.caller.change(actual, expected):
                at = f" (reset at step {t})" if t else ""
                return [f"{cause} changes the output of the new one by {leak:.2g}{at}"]
    return []


def _rows_reset_too(rollout: _Rollout) -> list[str]:
    """Steps at which rows do not read what came before although they are not reset."""
    by_row, output, T = rollout.by_row, rollout.output, rollout.x.shape[1]
    everywhere = torch.ones(len(by_row), dtype=torch.bool, device=by_row.device)
    changed = rollout(rollout.x, rollout.changed_state(everywhere))
    continuing = (~by_row[:, 0]).nonzero()[:, 0].tolist()

    def first(value: Tensor, b: int) -> Tensor:
        return value[b, 0] if rollout.has_steps else value[b]

    if not all(rollout.caller.difference(first(changed, b), first(output, b)) for b in continuing):
        _require_dependence(rollout)
        return ["rows that continue do not read their state: they were reset too"]
    later = range(1, T) if by_row[:, 1:].any() else range(0)
    for t in [*later][:LARGEST_STEPS]:
        before = torch.zeros_like(by_row)
        before[:, t - 1] = True
        changed = rollout(replaced(rollout.x, before), rollout.state)
        for b in (~by_row[:, t]).nonzero()[:, 0].tolist():
            if torch.equal(changed[b, t], output[b, t]):
                return [f"row {b} does not read its past at step {t}: it was reset too"]
    return []


def _require_dependence(rollout: _Rollout) -> None:
    """Raise ValueError if the output depends on neither x nor the state."""
    everywhere = torch.ones_like(rollout.by_row)
    other = rollout(replaced(rollout.x, everywhere), rollout.state)
    if not rollout.caller.difference(other, rollout.output):
        raise ValueError(
            "Expected outputs that depend on x and on the state, got outputs that depend on "
            "neither: nothing can be seen."
        )


def _cuts_nan(rollout: _Rollout) -> bool:
    """Whether NaN in the old state of rows that are reset at once is gone after the reset."""
    rows = rollout.by_row.any(dim=1)
    output = rollout(rollout.x, rollout.changed_state(rows, torch.nan))
    for b in rows.nonzero()[:, 0].tolist():
        t = int(rollout.by_row[b].nonzero()[0])
        after = output[b, t:] if rollout.has_steps else output[b]
        if not after.isfinite().all():
            return False
    return True
