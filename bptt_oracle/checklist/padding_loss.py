"""Point 3, the loss: targets that are padding add nothing to it, nor to its denominator."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .arguments import require_functions, require_tensors
from .check_result import CheckResult
from .comparison import difference, require_numbers
from .values import named_values


def padding_loss(
    loss: Callable[[Tensor, Tensor], object], logits: Tensor, targets: Tensor, pad: int
) -> CheckResult:
    """(3) The loss ignores targets that are padding, and divides by the number of the other ones.

    Args:
        loss: loss(logits, targets) -> scalar, or an object or dict that holds it by the name loss;
            it knows `pad` itself.
        logits: [B, T, V] or [N, V], any floating dtype; a detached copy is used, of half types one
            in float32.
        targets: [B, T] or [N], integers; `pad` marks padding.
        pad: the padding token or ignore index.

    Returns:
        Holds: the gradient at padding is zero and the value is Σ mℓ / Σ m, the cross entropy ℓ
        averaged over the other tokens (m = 1); or, of another loss, as with label smoothing, class
        weights or a scale, equal tokens have equal gradients, and their number changes nothing. The
        evidence includes the loss of a batch of padding only. Fails: reports the gradient, and
        names the wrong denominator if it is a common one.

    Raises:
        ValueError: no target is padding, or all are; logits or loss are NaN; the loss is not a
            scalar; or the numbers are such that a wrong denominator gives the same loss.
    """
    require_functions(loss=loss)
    require_tensors(logits=logits, targets=targets)
    if not logits.is_floating_point() or logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"Expected logits [B, T, V] or [N, V] and targets of the same [B, T] or [N], got "
            f"{logits.dtype} {list(logits.shape)} and {list(targets.shape)}."
        )
    real = targets != pad
    if real.all() or not real.any():
        raise ValueError("Expected some targets that are padding and some that are not.")
    half = torch.finfo(logits.dtype).bits == 16
    logits = (logits.float() if half else logits).detach().clone().requires_grad_()
    with torch.enable_grad():
        value = _scalar(loss(logits, targets))
        (gradient,) = torch.autograd.grad(value, logits)
    require_numbers([logits[real], value, gradient[real]], "logits and loss")
    if not gradient.any():
        raise ValueError("Expected a loss that depends on the logits, got a gradient of zero.")
    value = value.detach()
    failures = []
    leak = float(gradient[~real].abs().nan_to_num(torch.inf).max())
    if leak:
        failures.append(f"logits at padding have a gradient of up to {leak:.2g}")
    means = _means(logits.detach(), targets, real)
    expected = means.pop("Σ mℓ / Σ m")
    with torch.no_grad():
        if difference(value, expected):
            failures += _weighted_failures(loss, logits, targets, pad, value, expected, means)
        elif any(not difference(mean, expected) for mean in means.values()):
            raise ValueError(
                "Expected logits and lengths for which a wrong denominator gives another loss, got "
                "some for which it gives the same; draw other ones."
            )
        padding_only = float(_scalar(loss(logits.detach(), torch.full_like(targets, pad))))
    return CheckResult.from_failures(
        3,
        "padding adds nothing to the loss or to its denominator",
        failures,
        f"{float(value):.6g} = Σ mℓ / {int(real.sum())}; of padding only it is {padding_only:.3g}",
    )


def _means(logits: Tensor, targets: Tensor, real: Tensor) -> dict[str, Tensor]:
    """The cross entropy averaged in the right way, and in the usual wrong ones."""
    log_p = logits.log_softmax(dim=-1)
    losses = -log_p.gather(-1, targets.clamp(0, logits.shape[-1] - 1)[..., None])[..., 0]
    counted = torch.where(real, losses, 0)
    total = counted.sum()
    means = {
        "Σ mℓ / Σ m": total / real.sum(),
        "the sum, undivided": total,
        "divided by all positions": total / real.numel(),
        "the mean over padding too": losses.mean(),
    }
    if targets.dim() > 1 and len(set(real.sum(1).tolist())) > 1:
        means["a mean of means over sequences"] = (counted.sum(1) / real.sum(1).clamp(min=1)).mean()
        means["divided by the number of sequences"] = total / len(targets)
    if real.sum() == 1:
        del means["the sum, undivided"]
    return means


def _weighted_failures(
    loss: Callable[[Tensor, Tensor], object],
    logits: Tensor,
    targets: Tensor,
    pad: int,
    value: Tensor,
    expected: Tensor,
    means: dict[str, Tensor],
) -> list[str]:
    """The failure of a loss that is not the mean cross entropy, unless it is a mean over the tokens
    of another loss of one token.

    All positions get the same logits and the same target, so that all tokens have one loss and one
    weight. Of a mean, the value then does not change with the number of tokens, and the gradients
    of all tokens are equal.
    """
    real = targets != pad
    fewer = real.clone()
    for row in fewer.reshape(len(fewer), -1) if fewer.dim() > 1 else fewer[None]:
        places = row.nonzero()
        if len(places) > 1:
            row[places[-1]] = False
    if torch.equal(fewer, real):
        raise ValueError("Expected a row of two tokens or more, got none.")
    example = logits[real][0]
    label = next(int(v) for v in targets[real].unique() if example[int(v)].isfinite())
    same = example.expand_as(logits).clone().requires_grad_()
    with torch.enable_grad():
        whole = _scalar(loss(same, torch.where(real, label, pad)))
        (gradient,) = torch.autograd.grad(whole, same)
    part = _scalar(loss(same, torch.where(fewer, label, pad)))
    sizes = gradient.norm(dim=-1)[real]
    if not difference(part, whole) and not difference(sizes, sizes[:1].expand_as(sizes)):
        return []
    names = [name for name, wrong in means.items() if not difference(value, wrong)]
    return [
        f"the loss is {float(value):.6g}, Σ mℓ / Σ m is {float(expected):.6g}"
        + "".join(f" (it is {name})" for name in names[:1])
    ]


def _scalar(returned: Any) -> Tensor:
    """The loss in what a function returned. Raises ValueError if it is not a scalar."""
    value = named_values(returned).get("loss", returned)
    if not isinstance(value, Tensor) or value.numel() != 1:
        shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"Expected a loss that is a scalar, got {shape}.")
    return value.reshape(())
