"""Points 1 and 2: targets are the next tokens, and logits and targets fit each other."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .verdict import Verdict, first, gap, verdict
from .watch import evaluated

Split = Callable[[Tensor], tuple[Tensor, Tensor]]


def label_shift(split: Split, ids: Tensor) -> Verdict:
    """(1) `split(ids)`, with ids [B, T], gives inputs and targets that are shifted by one.

    Negative targets are taken as ignored. Raises ValueError for ids in which a shift cannot be
    seen, because they repeat.
    """
    inputs, targets = split(ids)
    starts, ends = _places(ids, inputs), _places(ids, targets)
    shifts = {end - start for start in starts for end in ends}
    if len(shifts) > 1:
        raise ValueError("Expected ids whose tokens tell a shift, got repeating ones; draw others.")
    faults = []
    if inputs.shape != targets.shape:
        faults.append(f"inputs {list(inputs.shape)} and targets {list(targets.shape)} differ")
    elif not shifts:
        faults.append("inputs and targets are not stretches of the ids")
    elif shifts != {1}:
        (shift,) = shifts
        learns = "the model learns to copy its input" if shift == 0 else "generation goes wrong"
        faults.append(f"target t is token t + {shift}, not t + 1: {learns}")
    return verdict(
        1, "the target is the next token", faults, f"all {targets.numel()} targets are at t + 1"
    )


def shapes(model: nn.Module, inputs: Tensor, targets: Tensor, vocab: int) -> Verdict:
    """(2) Logits of inputs [B, T] are [B, T, V], targets are [B, T], and rows are rows.

    A model that takes time for batch has the right shapes too; so row 0 is given the tokens of
    row 1, and no other row's logits may move. `model(inputs)` gives logits, alone or with a state.
    Raises ValueError for fewer than two rows, and for rows that are equal.
    """
    if inputs.dim() != 2 or len(inputs) < 2 or torch.equal(inputs[0], inputs[1]):
        raise ValueError("Expected inputs [B, T] of two rows or more, the first two not equal.")
    changed = inputs.clone()
    changed[0] = changed[1]
    logits = evaluated(model, lambda: first(model(inputs)))
    moved = evaluated(model, lambda: first(model(changed)))
    faults = []
    if logits.shape != (*inputs.shape, vocab):
        faults.append(
            f"logits are {list(logits.shape)}, expected [B, T, V] = {[*inputs.shape, vocab]}"
        )
    elif gap(moved[1:], logits[1:]):
        faults.append(
            f"new tokens in row 0 move the logits of other rows by {gap(moved[1:], logits[1:]):.2g}"
            ": rows are mixed, as where batch_first is forgotten"
        )
    if targets.shape != inputs.shape:
        faults.append(f"targets are {list(targets.shape)}, expected {list(inputs.shape)}")
    return verdict(
        2, "logits are [B, T, V] and targets [B, T]", faults, f"logits {list(logits.shape)}"
    )


def _places(ids: Tensor, stretch: Tensor) -> list[int]:
    """The columns of ids at which this stretch of columns may begin; what is negative fits all."""
    columns, found = torch.arange(stretch.shape[1]), []
    for start in range(1 - stretch.shape[1], ids.shape[1]):
        at = columns + start
        inside = (at >= 0) & (at < ids.shape[1])
        there = ids[:, at.clamp(0, ids.shape[1] - 1)]
        if ((stretch < 0) | ((stretch == there) & inside)).all():
            found.append(start)
    return found
