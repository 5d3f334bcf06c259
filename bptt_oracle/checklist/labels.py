"""Points 1 and 2: targets are the next tokens, and logits and targets have matching shapes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .arguments import require_functions, require_tensors
from .calls import Caller
from .check_result import CheckResult
from .comparison import require_numbers
from .values import named_values, output_tensor, tensors_in

Split = Callable[[Tensor], Any]
MARKS = 2  # columns that may be beside the ids: ⟨bos⟩ and ⟨eos⟩


def label_shift(split: Split, ids: Tensor, *, batch_first: bool = True) -> CheckResult:
    """(1) `split(ids)` returns inputs, and targets that are the next tokens.

    Args:
        split: split(ids) -> (inputs, targets), or a dict or object with these two first; both are
            slices of the columns of ids, [B, ·] or flattened. Negative targets count as ignored;
            columns of one token, as ⟨bos⟩ and ⟨eos⟩, may be put beside the ids.
        ids: tokens [B, T], integers ≥ 0, with rows that do not repeat themselves, or numbers
            [B, T, D]; with batch_first=False [T, B, ·], and so are inputs and targets.
        batch_first: whether the first axis of ids holds the rows.

    Returns:
        Holds: target t is token t + 1 of the inputs' tokens. Fails: names another shift, shapes
        that differ, inputs and targets that are not slices of ids, or a last target that is the
        first token again, as `roll` makes it.

    Raises:
        ValueError: the ids repeat, or too many targets are ignored, so that several shifts are
            possible; ids of one row with targets that go round; flattened inputs that are not
            columns of the ids; ids of another number of axes; or split does not return tensors.
    """
    require_tensors(ids=ids)
    require_functions(split=split)
    if ids.dim() not in (2, 3) or not ids.numel():
        raise ValueError(f"Expected ids [B, T] or [B, T, D], got {list(ids.shape)}.")
    inputs, targets = _two_tensors(split(ids.clone()))
    rows = ids if batch_first else ids.transpose(0, 1)
    row_inputs, row_targets = (_by_row(piece, rows, batch_first) for piece in (inputs, targets))
    failures = []
    if row_inputs.shape != row_targets.shape:
        failures.append(f"inputs {list(inputs.shape)} and targets {list(targets.shape)} differ")
    else:
        if inputs.dim() < ids.dim() and not _start_columns(rows, row_inputs):
            raise ValueError(
                "Expected flattened inputs that are slices of the ids in the order of the ids, got "
                "others; return them as [B, ·]."
            )
        failures += _shift_failures(rows, row_inputs, row_targets)
    return CheckResult.from_failures(
        1, "the target is the next token", failures, f"all {targets.numel()} targets are at t + 1"
    )


def _shift_failures(ids: Tensor, inputs: Tensor, targets: Tensor) -> list[str]:
    """What is wrong with inputs and targets of the same shape."""
    input_starts, target_starts = _start_columns(ids, inputs), _start_columns(ids, targets)
    shifts = {target - start for start in input_starts for target in target_starts}
    if len(shifts) > 1:
        raise ValueError("Expected ids that show the shift, got repeating tokens; draw other ids.")
    if not shifts:
        return ["inputs and targets are not slices of the ids"]
    (shift,) = shifts
    if shift != 1:
        effect = "the model learns to copy its input" if shift == 0 else "generation goes wrong"
        return [f"target t is token t + {shift}, not t + 1: {effect}"]
    (start,) = target_starts
    beside = targets[:, max(0, ids.shape[1] - start) :]
    if not beside.shape[1] or (not beside.is_floating_point() and (beside < 0).all()):
        return []
    if not torch.equal(beside[:, :1].expand_as(beside), beside) or (beside[:1] != beside).any():
        return ["the targets after the last token are other tokens of the ids, not one mark"]
    if len(ids) == 1 and (beside[:, :1] == ids[:, :1]).all():
        raise ValueError("Expected two rows or more, got one whose last target is its first token.")
    return []


def _by_row(piece: Tensor, rows: Tensor, batch_first: bool) -> Tensor:
    """Inputs or targets as [B, ·], of some that may be flattened or have time first."""
    B, rest = len(rows), rows.shape[2:]
    flattened = 0 < piece.dim() < rows.dim() and piece.shape[1:] in ((), rest)
    if flattened and piece.numel() % (B * rest.numel()):
        raise ValueError(
            f"Expected flattened inputs and targets of {B} rows of one length, got "
            f"{list(piece.shape)}; return them as [B, ·]."
        )
    if flattened:
        piece = piece.reshape((B, -1, *rest) if batch_first else (-1, B, *rest))
    return piece if batch_first or piece.dim() < 2 else piece.transpose(0, 1)


def _two_tensors(returned: Any) -> tuple[Tensor, Tensor]:
    """Inputs and targets: the first two tensors, or those of a dict by the name labels."""
    named = named_values(returned)
    tensors = tensors_in(returned)
    label = next((n for n in ("labels", "targets", "target", "y") if n in named), "")
    if isinstance(named.get(label), Tensor):
        others = tensors_in([value for name, value in named.items() if name != label])
        tensors = [*others[:1], named[label]]
    if len(tensors) < 2 or tensors[0].dim() < 1:
        raise ValueError(f"Expected inputs and targets, got {len(tensors)} tensors.")
    return tensors[0], tensors[1]


def _start_columns(ids: Tensor, piece: Tensor) -> list[int]:
    """The columns of ids at which these columns may start; a negative token matches anything, and
    so do up to two columns of marks beside the ids."""
    width, starts = piece.shape[1], []
    if len(piece) != len(ids):
        return []
    columns = torch.arange(width, device=ids.device)
    for start in range(1 - width, ids.shape[1]):
        shifted = columns + start
        inside = (shifted >= 0) & (shifted < ids.shape[1])
        tokens = ids[:, shifted.clamp(0, ids.shape[1] - 1)]
        if piece.is_floating_point():
            equal = (piece == tokens) | (piece.isnan() & tokens.isnan())
        else:
            equal = (piece < 0) | (piece == tokens)
        equal = equal.flatten(2).all(dim=2) if equal.dim() > 2 else equal
        if (equal | ~inside).all() and inside.sum() >= max(1, width - MARKS):
            starts.append(start)
    return starts


def shapes(model: nn.Module, inputs: Tensor, targets: Tensor, vocab: int) -> CheckResult:
    """(2) Logits are [B, T, V], targets are [B, T], and rows do not mix.

    A model that takes time for batch returns the right shapes too. So each row is replaced by
    another one, and the logits of the other rows must not change. The model runs in evaluation
    mode, and a state that it keeps is put back after each call.

    Args:
        model: model(inputs) -> logits [B, T, V] or flattened [B·T, V], alone, in a tuple, or in a
            dict or object.
        inputs: tokens [B, T], integers, or numbers [B, T, D]; B ≥ 2, rows not all equal.
        targets: tokens [B, T], integers, or numbers of the shape of the logits; may be flattened.
        vocab: V, the number of logits, or of numbers predicted.

    Returns:
        Holds: both shapes are right and the rows are independent. Fails: names the wrong shape, or
        reports how much the logits of other rows change.

    Raises:
        ValueError: inputs are not [B, T] or [B, T, D] with two or more rows that differ; the logits
            are NaN, random, or do not depend on the inputs.
        TypeError: the model does not return a tensor, or a tuple, dict or object with one.
    """
    require_functions(model=model)
    require_tensors(inputs=inputs, targets=targets)
    if inputs.dim() not in (2, 3) or len(inputs) < 2 or (inputs[:1] == inputs).all():
        raise ValueError(
            f"Expected inputs [B, T] or [B, T, D] of two rows or more that differ, got "
            f"{list(inputs.shape)}" + (" of equal rows." if inputs.dim() in (2, 3) else ".")
        )
    caller = Caller(model)
    B, T = inputs.shape[:2]
    logits = output_tensor(caller(inputs))
    failures = []
    if logits.shape == (B * T, vocab):
        logits = logits.reshape(B, T, vocab)
    if logits.shape != (B, T, vocab):
        failures.append(f"logits are {list(logits.shape)}, expected [B, T, V] = {[B, T, vocab]}")
    else:
        require_numbers([logits], "the model")
        caller.require_repeatable(inputs)
        failures += _mixed_rows(caller, inputs, logits)
    if targets.shape not in {(B, T), (B * T,), (B, T, vocab), (B * T, vocab)}:
        failures.append(f"targets are {list(targets.shape)}, expected {[B, T]}")
    return CheckResult.from_failures(
        2,
        "logits are [B, T, V] and targets [B, T]",
        failures,
        f"logits {list(logits.shape)}, and no row changes the logits of another",
    )


def _mixed_rows(caller: Caller, inputs: Tensor, logits: Tensor) -> list[str]:
    """The first row whose tokens change the logits of other rows."""
    seen = False
    for b in range(len(inputs)):
        k = next(k for k in range(len(inputs)) if not torch.equal(inputs[k], inputs[b]))
        changed_inputs = inputs.clone()
        changed_inputs[b] = inputs[k]
        changed = output_tensor(caller(changed_inputs)).reshape(logits.shape)
        others = [row for row in range(len(inputs)) if row != b]
        if change := caller.change(changed[others], logits[others]):
            return [
                f"new tokens in row {b} change the logits of other rows by {change:.2g}: "
                "rows are mixed, as they are without batch_first"
            ]
        seen |= caller.difference(changed[b], logits[b]) > 0
    if not seen:
        raise ValueError(
            "Expected logits that depend on their tokens, got logits that do not: nothing can be "
            "seen."
        )
    return []
