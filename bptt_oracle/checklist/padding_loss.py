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
    """(3) The loss ignores targets that are padding, and does not divide by their number.

    Which denominator it has is for you to choose: the number of the other targets, that of the
    sequences, or none. The evidence names it.

    Args:
        loss: loss(logits, targets) -> scalar, or an object or dict that holds it by the name loss;
            it knows `pad` itself.
        logits: [B, T, V] or [N, V], any floating dtype; a detached copy is used, of half types one
            in float32.
        targets: [B, T] or [N], integers; `pad` marks padding.
        pad: the padding token or ignore index.

    Returns:
        Holds: the gradient at padding is zero, and the value is Σ mℓ / Σ m, the cross entropy ℓ
        averaged over the other tokens (m = 1); or, of another loss or another denominator, equal
        tokens of a row have equal gradients, and fewer of them give the same loss, or one that is
        smaller in proportion and does not change with a column of padding. The evidence includes
        the loss of a batch of padding only. Fails: reports the gradient, and names the wrong
        denominator if it is a common one.

    Raises:
        ValueError: no target is padding, or all are; logits or loss are NaN; the loss is not a
            scalar; the numbers are such that a wrong denominator gives the same loss; or the
            denominator cannot be seen, of a loss that is neither a mean nor a sum.
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
    failures: list[str] = []
    denominator = f"Σ mℓ / {int(real.sum())}"
    leak = float(gradient[~real].abs().nan_to_num(torch.inf).max())
    if leak:
        failures.append(f"logits at padding have a gradient of up to {leak:.2g}")
    means = _means(logits.detach(), targets, real)
    expected = means.pop("Σ mℓ / Σ m")
    named = [name for name, wrong in means.items() if not difference(value, wrong)]
    is_mean = not difference(value, expected)
    if is_mean and named and not leak:
        raise ValueError(
            "Expected logits and lengths for which a wrong denominator gives another loss, got "
            "some for which it gives the same; draw other ones."
        )
    with torch.no_grad():
        if not is_mean and not named and not leak:
            denominator = _denominator(loss, logits, targets, pad, value)
        if not is_mean and (named or not denominator):
            failures.append(
                f"the loss is {float(value):.6g}, Σ mℓ / Σ m is {float(expected):.6g}"
                + "".join(f" (it is {name})" for name in named[:1])
            )
        padding_only = float(_scalar(loss(logits.detach(), torch.full_like(targets, pad))))
    return CheckResult.from_failures(
        3,
        "padding adds nothing to the loss or to its denominator",
        failures,
        f"{float(value):.6g} = {denominator}; of padding only it is {padding_only:.3g}",
    )


def _means(logits: Tensor, targets: Tensor, real: Tensor) -> dict[str, Tensor]:
    """The cross entropy averaged in the right way, and in the usual wrong ones."""
    log_p = logits.log_softmax(dim=-1)
    losses = -log_p.gather(-1, targets.clamp(0, logits.shape[-1] - 1)[..., None])[..., 0]
    counted = torch.where(real, losses, 0)
    total = counted.sum()
    means = {
        "Σ mℓ / Σ m": total / real.sum(),
        "divided by all positions": total / real.numel(),
        "the mean over padding too": losses.mean(),
    }
    if targets.dim() > 1 and len(set(real.sum(1).tolist())) > 1:
        as_long_as_the_longest = len(real) * real.sum(1).max()
        means["divided by the positions up to the longest row"] = total / as_long_as_the_longest
    return means


def _denominator(
    loss: Callable[[Tensor, Tensor], object],
    logits: Tensor,
    targets: Tensor,
    pad: int,
    value: Tensor,
) -> str:
    """The denominator of a loss that is not the mean cross entropy, in words; empty if padding
    changes it, or if tokens that are not padding are left out. Raises ValueError of another loss.

    All positions get the same logits and the same target, so that all tokens have one loss and one
    weight. Of a mean over tokens or over sequences, the value then does not change with the number
    of tokens; of a sum it changes in proportion, and a column of padding must change nothing.
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
    sizes = gradient.norm(dim=-1)
    if sizes[real].any() and not sizes[real].all():
        return ""
    rows = [(sizes, real)] if real.dim() < 2 else list(zip(sizes, real, strict=True))
    in_rows = all(_are_equal(of_row[tokens]) for of_row, tokens in rows if tokens.any())
    everywhere = _are_equal(sizes[real])
    if in_rows and not difference(part, whole):
        return f"Σ mℓ / {int(real.sum())}" if everywhere else "a mean of means over sequences"
    if difference(_with_more_padding(loss, logits, targets, pad), value):
        return ""
    if everywhere and not difference(part * real.sum(), whole * fewer.sum()):
        return "Σ mℓ, divided by no number of tokens"
    raise ValueError(
        "Expected a mean over tokens or over sequences, or a sum, got another loss, whose "
        "denominator cannot be seen."
    )


def _are_equal(values: Tensor) -> bool:
    return not difference(values, values[:1].expand_as(values))


def _with_more_padding(
    loss: Callable[[Tensor, Tensor], object], logits: Tensor, targets: Tensor, pad: int
) -> Tensor:
    """The loss with one more column of padding. Raises ValueError if it takes no other size."""
    step = targets.dim() - 1
    last = logits.narrow(step, logits.shape[step] - 1, 1)
    more = torch.full_like(targets.narrow(step, 0, 1), pad)
    try:
        return _scalar(loss(torch.cat([logits, last], step), torch.cat([targets, more], step)))
    except (RuntimeError, IndexError, ValueError) as e:
        raise ValueError(
            "Expected a loss of any number of steps, to see whether a column of padding changes "
            f"it, got one that raises {type(e).__name__} with one step more."
        ) from e


def _scalar(returned: Any) -> Tensor:
    """The loss in what a function returned. Raises ValueError if it is not a scalar."""
    value = named_values(returned).get("loss", returned)
    if not isinstance(value, Tensor) or value.numel() != 1:
        shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"Expected a loss that is a scalar, got {shape}.")
    return value.reshape(())
