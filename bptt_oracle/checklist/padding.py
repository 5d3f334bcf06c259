"""Points 3, 4 and 14: padding counts nowhere, and results are in the order of the batch.

All but the loss are checked in the same way: a row in a padded batch must give what the same row
gives in a batch of its own, without padding. `run(x, lengths)` is your own function.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .check_result import CheckResult, difference, state_tensors

Run = Callable[[Tensor, Tensor], object]


def padding_loss(
    loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor, pad: int
) -> CheckResult:
    """(3) The loss ignores targets that are padding, and divides by the number of the other ones.

    Args:
        loss: loss(logits, targets) -> scalar; it knows `pad` itself.
        logits: [B, T, V], any floating dtype; a detached copy is used.
        targets: [B, T], integers; `pad` marks padding.
        pad: the padding token or ignore index.

    Returns:
        Holds: the gradient at padding is zero and the value is Σ mℓ / Σ m, the cross entropy ℓ
        averaged over the other tokens (m = 1). The evidence includes the loss of a batch of
        padding only. Fails: reports the gradient, and names the wrong denominator if it is a
        common one.

    Raises:
        ValueError: no target is padding, or all are.
    """
    real = targets != pad
    if real.all() or not real.any():
        raise ValueError("Expected some targets that are padding and some that are not.")
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, targets)
    (gradient,) = torch.autograd.grad(value, logits)
    value = value.detach()
    log_p = logits.detach().log_softmax(dim=-1)
    losses = -log_p.gather(-1, targets.clamp(0, logits.shape[-1] - 1)[..., None])[..., 0]
    counted = torch.where(real, losses, 0)
    expected = counted.sum() / real.sum()
    wrong_losses = {
        "the sum, undivided": counted.sum(),
        "divided by all positions": counted.sum() / real.numel(),
        "the mean over padding too": losses.mean(),
        "a mean of means over sequences": (counted.sum(1) / real.sum(1).clamp(min=1)).mean(),
    }
    failures = []
    leak = float(gradient[~real].abs().max())
    if leak:
        failures.append(f"logits at padding have a gradient of up to {leak:.2g}")
    if difference(value, expected):
        names = [name for name, wrong in wrong_losses.items() if not difference(value, wrong)]
        failures.append(
            f"the loss is {float(value):.6g}, Σ mℓ / Σ m is {float(expected):.6g}"
            + "".join(f" (it is {name})" for name in names[:1])
        )
    padding_only = float(loss(logits.detach(), torch.full_like(targets, pad)))
    return CheckResult.from_failures(
        3,
        "padding adds nothing to the loss or to its denominator",
        failures,
        f"{float(value):.6g} = Σ mℓ / {int(real.sum())}; of padding only it is {padding_only:.3g}",
    )


def padding_state(run: Run, x: Tensor, lengths: Tensor) -> CheckResult:
    """(3) Padding does not change the final state.

    Args:
        run: run(x, lengths) -> final state [L, B, H], or a pair of such; deterministic.
        x: [B, T] tokens or [B, T, D] numbers, batch first, padded on the right.
        lengths: [B], integers from 1 to T, not all T.

    Returns:
        Holds: each row's state is that of the row alone, without padding. Fails: names the rows
        that differ, and by how much.

    Raises:
        ValueError: fewer than two rows, or no row with padding.
    """
    failures = _row_failures(run, x, lengths, batch_dim=1)
    return CheckResult.from_failures(
        3, "padding does not change the final state", failures, _rows_agree(lengths)
    )


def last_valid_step(run: Run, x: Tensor, lengths: Tensor) -> CheckResult:
    """(4) The result of a row is that of its last valid step, not of the last column.

    Args:
        run: run(x, lengths) -> [B, ·], for example logits of a classifier; deterministic.
        x: [B, T] tokens or [B, T, D] numbers, batch first, padded on the right.
        lengths: [B], integers from 1 to T, not all T.

    Returns:
        Holds: each row's result is that of the row alone, without padding. Fails: names the rows
        that differ, and by how much.

    Raises:
        ValueError: fewer than two rows, or no row with padding.
    """
    failures = _row_failures(run, x, lengths, batch_dim=0)
    return CheckResult.from_failures(
        4,
        "the result is that of the last valid step, not of the last column",
        failures,
        _rows_agree(lengths),
    )


def packed_order(run: Run, x: Tensor, lengths: Tensor) -> CheckResult:
    """(14) After packing, row b of the result belongs to row b of x.

    Args:
        run: run(x, lengths) -> [B, ·] or [B, T, ·]; deterministic.
        x: [B, T] tokens or [B, T, D] numbers, batch first, padded on the right.
        lengths: [B], integers from 1 to T, not in descending order.

    Returns:
        Holds: each row's result is that of the row alone, without padding. Fails: names the rows
        that differ, and the row in which their result is found.

    Raises:
        ValueError: the lengths are in descending order already, so that packing does not reorder;
            fewer than two rows, or no row with padding.
    """
    if (lengths[1:] <= lengths[:-1]).all():
        raise ValueError(f"Expected lengths that packing reorders, got {lengths.tolist()}.")
    failures = _row_failures(run, x, lengths, batch_dim=0)
    return CheckResult.from_failures(
        14,
        "after packing, results are in the order of the batch",
        failures,
        _rows_agree(lengths),
    )


def _row_failures(run: Run, x: Tensor, lengths: Tensor, batch_dim: int) -> list[str]:
    """The rows whose result in the batch differs from their result in a batch of one row."""
    if len(x) < 2 or (lengths == x.shape[1]).all():
        raise ValueError("Expected two or more rows, and at least one shorter than the batch.")
    with torch.no_grad():
        batch = state_tensors(run(x, lengths))
        singles = [
            state_tensors(run(x[b : b + 1, :n], lengths[b : b + 1]))
            for b, n in enumerate(lengths.tolist())
        ]
    rows = [[_row(tensor, b, batch_dim) for tensor in batch] for b in range(len(x))]
    failures = []
    for b, single in enumerate(singles):
        expected = [_row(tensor, 0, batch_dim) for tensor in single]
        change = _row_difference(rows[b], expected)
        if not change:
            continue
        matches = [k for k, row in enumerate(rows) if k != b and not _row_difference(row, expected)]
        failures.append(
            f"row {b}, of length {int(lengths[b])}, differs by {change:.2g} from the row alone"
            + "".join(f": its result is in row {k}" for k in matches[:1])
        )
    return failures


def _row(value: Tensor, b: int, batch_dim: int) -> Tensor:
    return value.detach().select(batch_dim, b)


def _row_difference(actual: list[Tensor], expected: list[Tensor]) -> float:
    """The difference over the steps of `expected`, which has no padding."""
    return max(
        difference(a[: len(e)] if a.dim() and a.shape != e.shape else a, e)
        for a, e in zip(actual, expected, strict=True)
    )


def _rows_agree(lengths: Tensor) -> str:
    return f"rows of lengths {lengths.tolist()} give the same alone and in the batch"
