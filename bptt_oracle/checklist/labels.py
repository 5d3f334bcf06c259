"""Points 1 and 2: targets are the next tokens, and logits and targets have matching shapes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .check_result import CheckResult, difference, output_tensor
from .model_calls import evaluate

Split = Callable[[Tensor], tuple[Tensor, Tensor]]


def label_shift(split: Split, ids: Tensor) -> CheckResult:
    """(1) `split(ids)` returns inputs, and targets that are the next tokens.

    Args:
        split: split(ids) -> (inputs, targets), both slices [B, ·] of the columns of ids. Negative
            targets count as ignored.
        ids: tokens [B, T], integers ≥ 0, with rows that do not repeat themselves.

    Returns:
        Holds: target t is token t + 1 of the inputs' tokens. Fails: names another shift, shapes
        that differ, or inputs and targets that are not slices of ids.

    Raises:
        ValueError: the ids repeat, so that several shifts are possible.
    """
    inputs, targets = split(ids)
    input_starts, target_starts = _start_columns(ids, inputs), _start_columns(ids, targets)
    shifts = {target - start for start in input_starts for target in target_starts}
    if len(shifts) > 1:
        raise ValueError("Expected ids that show the shift, got repeating tokens; draw other ids.")
    failures = []
    if inputs.shape != targets.shape:
        failures.append(f"inputs {list(inputs.shape)} and targets {list(targets.shape)} differ")
    elif not shifts:
        failures.append("inputs and targets are not slices of the ids")
    elif shifts != {1}:
        (shift,) = shifts
        effect = "the model learns to copy its input" if shift == 0 else "generation goes wrong"
        failures.append(f"target t is token t + {shift}, not t + 1: {effect}")
    return CheckResult.from_failures(
        1, "the target is the next token", failures, f"all {targets.numel()} targets are at t + 1"
    )


def shapes(model: nn.Module, inputs: Tensor, targets: Tensor, vocab: int) -> CheckResult:
    """(2) Logits are [B, T, V], targets are [B, T], and rows do not mix.

    A model that takes time for batch returns the right shapes too. So row 0 is replaced by row 1,
    and the logits of the other rows must not change. The model runs in evaluation mode.

    Args:
        model: model(inputs) -> logits [B, T, V], alone or in a tuple with a state.
        inputs: tokens [B, T], integers, B ≥ 2, rows 0 and 1 different.
        targets: tokens [B, T], integers.
        vocab: V, the number of logits.

    Returns:
        Holds: both shapes are right and the rows are independent. Fails: names the wrong shape, or
        reports how much the logits of other rows change.

    Raises:
        ValueError: inputs are not [B, T] with two or more rows, or the first two are equal.
        TypeError: the model does not return a tensor, or a tuple that begins with one.
    """
    if inputs.dim() != 2 or len(inputs) < 2 or torch.equal(inputs[0], inputs[1]):
        raise ValueError("Expected inputs [B, T] of two rows or more, the first two not equal.")
    changed_inputs = inputs.clone()
    changed_inputs[0] = changed_inputs[1]
    logits = evaluate(model, lambda: output_tensor(model(inputs)))
    changed_logits = evaluate(model, lambda: output_tensor(model(changed_inputs)))
    failures = []
    if logits.shape != (*inputs.shape, vocab):
        failures.append(
            f"logits are {list(logits.shape)}, expected [B, T, V] = {[*inputs.shape, vocab]}"
        )
    elif change := difference(changed_logits[1:], logits[1:]):
        failures.append(
            f"new tokens in row 0 change the logits of other rows by {change:.2g}: "
            "rows are mixed, as they are without batch_first"
        )
    if targets.shape != inputs.shape:
        failures.append(f"targets are {list(targets.shape)}, expected {list(inputs.shape)}")
    return CheckResult.from_failures(
        2, "logits are [B, T, V] and targets [B, T]", failures, f"logits {list(logits.shape)}"
    )


def _start_columns(ids: Tensor, piece: Tensor) -> list[int]:
    """The columns of ids at which these columns may start; a negative token matches anything."""
    columns, starts = torch.arange(piece.shape[1]), []
    for start in range(1 - piece.shape[1], ids.shape[1]):
        shifted = columns + start
        inside = (shifted >= 0) & (shifted < ids.shape[1])
        tokens = ids[:, shifted.clamp(0, ids.shape[1] - 1)]
        if ((piece < 0) | ((piece == tokens) & inside)).all():
            starts.append(start)
    return starts
