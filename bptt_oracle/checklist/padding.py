"""Points 3, 4 and 14: padding counts nowhere, and results stand in the order of the batch.

The test of all of them is the same: a row in a padded batch gives what the row gives alone,
without padding. `run(x, lengths)` is yours, with x [B, T] of tokens or [B, T, D], batch first.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .verdict import Verdict, gap, parts, verdict

Run = Callable[[Tensor, Tensor], object]


def padding_loss(
    loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor, pad: int
) -> Verdict:
    """(3) `loss(logits, targets)` ignores targets that are `pad`, and divides by the others.

    logits [B, T, V], targets [B, T]. A wrong denominator is named where it can be recognised.
    Raises ValueError unless some targets are padding and some are not.
    """
    real = targets != pad
    if real.all() or not real.any():
        raise ValueError("Expected some targets that are padding and some that are not.")
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, targets)
    (gradient,) = torch.autograd.grad(value, logits)
    value = value.detach()
    log_p = logits.detach().log_softmax(dim=-1)
    each = -log_p.gather(-1, targets.clamp(0, logits.shape[-1] - 1)[..., None])[..., 0]
    counted = torch.where(real, each, 0)
    expected = counted.sum() / real.sum()
    others = {
        "the sum, undivided": counted.sum(),
        "divided by all positions": counted.sum() / real.numel(),
        "the mean over padding too": each.mean(),
        "a mean of means over sequences": (counted.sum(1) / real.sum(1).clamp(min=1)).mean(),
    }
    faults = []
    leak = float(gradient[~real].abs().max())
    if leak:
        faults.append(f"logits at padding have a gradient of up to {leak:.2g}")
    if gap(value, expected):
        named = [name for name, other in others.items() if not gap(value, other)]
        faults.append(
            f"the loss is {float(value):.6g}, Σ mℓ / Σ m is {float(expected):.6g}"
            + "".join(f" (it is {name})" for name in named[:1])
        )
    alone = loss(logits.detach(), torch.full_like(targets, pad))
    return verdict(
        3,
        "padding costs nothing, and the loss is divided by the other tokens",
        faults,
        f"{float(value):.6g} = Σ mℓ / {int(real.sum())}; of padding alone it is {float(alone):.3g}",
    )


def padding_state(run: Run, x: Tensor, lengths: Tensor) -> Verdict:
    """(3) The state that `run(x, lengths)` ends in, [L, B, H] or a pair, knows of no padding."""
    faults = _rows_differ(run, x, lengths, batch_dim=1)
    return verdict(3, "padding leaves no trace in the state", faults, _agree(lengths))


def last_valid_step(run: Run, x: Tensor, lengths: Tensor) -> Verdict:
    """(4) The result of `run(x, lengths)`, [B, ·], is that of each row's own last step."""
    faults = _rows_differ(run, x, lengths, batch_dim=0)
    return verdict(4, "the last valid step decides, not the last column", faults, _agree(lengths))


def packed_order(run: Run, x: Tensor, lengths: Tensor) -> Verdict:
    """(14) Row b of what `run(x, lengths)` gives, [B, ·] or [B, T, ·], belongs to row b of x.

    Raises ValueError for lengths that packing would not reorder.
    """
    if (lengths[1:] <= lengths[:-1]).all():
        raise ValueError(f"Expected lengths that packing reorders, got {lengths.tolist()}.")
    faults = _rows_differ(run, x, lengths, batch_dim=0)
    return verdict(14, "after packing, rows are in the batch's order", faults, _agree(lengths))


def _rows_differ(run: Run, x: Tensor, lengths: Tensor, batch_dim: int) -> list[str]:
    """What distinguishes rows in the batch from the same rows alone, or from their neighbours."""
    if len(x) < 2 or (lengths == x.shape[1]).all():
        raise ValueError("Expected two rows or more, and one shorter than the batch is wide.")
    with torch.no_grad():
        batch = parts(run(x, lengths))
        alone = [
            parts(run(x[b : b + 1, :n], lengths[b : b + 1])) for b, n in enumerate(lengths.tolist())
        ]
    rows = [[_row(p, b, batch_dim) for p in batch] for b in range(len(x))]
    faults = []
    for b, expected in enumerate(alone):
        own = [_row(p, 0, batch_dim) for p in expected]
        differ = _gap(rows[b], own)
        if not differ:
            continue
        others = [k for k, row in enumerate(rows) if k != b and not _gap(row, own)]
        faults.append(
            f"row {b}, of length {int(lengths[b])}, differs from itself alone by {differ:.2g}"
            + "".join(f": its result stands in row {k}" for k in others[:1])
        )
    return faults


def _row(value: Tensor, b: int, batch_dim: int) -> Tensor:
    return value.detach().select(batch_dim, b)


def _gap(found: list[Tensor], own: list[Tensor]) -> float:
    """Over the steps that the row alone has; it has no padding."""
    pairs = zip(found, own, strict=True)
    return max(gap(f[: len(o)] if f.dim() and f.shape != o.shape else f, o) for f, o in pairs)


def _agree(lengths: Tensor) -> str:
    return f"rows of lengths {lengths.tolist()} give alone what they give together"
