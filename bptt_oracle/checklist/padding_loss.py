"""Point 3, the loss: targets that are padding add nothing to it, nor to its denominator."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .check_result import CheckResult
from .comparison import difference, require_numbers
from .values import named_values

TOKENS = 24  # alone in the batch, to measure what each adds to the loss


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
        Holds: the gradient at padding is zero and the value is Σ mℓ / Σ m, where ℓ is the loss of
        one token alone in the batch, and m = 1 where there is no padding. With the cross entropy
        this is its mean over the other tokens; label smoothing and class weights pass too. The
        evidence includes the loss of a batch of padding only. Fails: reports the gradient, and
        names the wrong denominator if it is a common one.

    Raises:
        ValueError: no target is padding, or all are; logits or loss are NaN; the loss is not a
            scalar; or the numbers are such that a wrong denominator gives the same loss.
    """
    real = targets != pad
    if real.all() or not real.any():
        raise ValueError("Expected some targets that are padding and some that are not.")
    half = torch.finfo(logits.dtype).bits == 16
    logits = (logits.float() if half else logits).detach().clone().requires_grad_()
    with torch.enable_grad():
        value = _scalar(loss(logits, targets))
        (gradient,) = torch.autograd.grad(value, logits)
    require_numbers([logits[real], value, gradient[real]], "logits and loss")
    if not gradient[real].any():
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
    """The failure of a loss that is not the mean cross entropy, unless it is the mean of its own
    losses of one token.

    All targets that count get one class, so that class weights are all the same, and each token is
    put alone in the batch, where every denominator is one of one token.
    """
    real = targets != pad
    classes = targets[real].unique().tolist()
    places = real.nonzero()
    if len(places) > TOKENS:  # every row keeps some, in other numbers
        places = places[torch.linspace(0, len(places) - 1, TOKENS).long()]
    kept = torch.zeros_like(real)
    kept[tuple(places.T)] = True
    for label in classes:
        same = torch.where(kept, label, pad)
        whole = _scalar(loss(logits, same))
        alone = []
        for place in places:
            one = torch.full_like(targets, pad)
            one[tuple(place)] = label
            alone.append(_scalar(loss(logits, one)))
        losses = torch.stack(alone)
        if not losses.isfinite().all() or not losses.any():  # a class of weight zero
            continue
        if not difference(whole, losses.mean()):
            return []
        names = [name for name, wrong in means.items() if not difference(value, wrong)]
        return [
            f"the loss is {float(value):.6g}, Σ mℓ / Σ m is {float(expected):.6g}"
            + "".join(f" (it is {name})" for name in names[:1])
        ]
    raise ValueError("Expected a loss of one token that is finite and not zero, got none.")


def _scalar(returned: Any) -> Tensor:
    """The loss in what a function returned. Raises ValueError if it is no scalar."""
    value = named_values(returned).get("loss", returned)
    if not isinstance(value, Tensor) or value.numel() != 1:
        shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"Expected a loss that is a scalar, got {shape}.")
    return value.reshape(())
