"""Point 10: gradients are clipped before the optimizer's step."""

import copy
import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .check_result import CheckResult
from .comparison import epsilon

GRADIENT_SCALES = (1e6, 1e3, 30.0)  # the smaller ones where the larger one overflows
OVERCLIPPED = 0.01


def clipping(
    optimizer: torch.optim.Optimizer, step: Callable[[], object], max_norm: float
) -> CheckResult:
    """(10) At the optimizer's step the global norm of the gradients is `max_norm`.

    Gradients are multiplied by a million as they are accumulated, so that clipping has to act, and
    so that parameters of other optimizers, if they are clipped together, count for nothing; where a
    million overflows, by less. The parameters, their gradients and the optimizer's state are
    restored afterwards.

    Args:
        optimizer: the optimizer that `step` uses; the norm is over all its parameters.
        step: takes no arguments: one training step with backward(), clipping, optimizer.step(). It
            may accumulate gradients, use a GradScaler, and step other optimizers.
        max_norm: the global L2 norm to which the step clips.

    Returns:
        Holds: every optimizer.step() sees gradients clipped to this norm, to a part in a thousand.
        Fails: reports the norm before and at the step, because clipping is missing, too early, too
        late, between the backward passes that accumulate gradients, or of some parameters only; or
        that it is much smaller than `max_norm`, because the
        gradients were clipped before a GradScaler unscaled them.

    Raises:
        ValueError: `step` does not call optimizer.step(), or calls it with a closure; the scaled
            gradients do not exceed max_norm, as without backward(); gradients are not finite; or
            the norm is another one below max_norm, to which the step clips instead.
    """
    for scale in GRADIENT_SCALES:
        seen = _watch(optimizer, step, scale)
        if seen.closure:
            raise ValueError(
                "Expected a step without a closure, got optimizer.step(closure), which computes "
                "gradients inside of the step."
            )
        if seen.at_step and math.isfinite(seen.before) and all(map(math.isfinite, seen.at_step)):
            break
    norm = seen.before
    if not seen.at_step or not norm > max_norm:
        raise ValueError(
            "Expected a step that calls backward() and optimizer.step(), with finite gradients "
            f"that exceed {max_norm:g} once scaled by {scale:g}; got {len(seen.at_step)} steps and "
            f"the norm {norm:.3g}."
        )
    if not all(math.isfinite(n) for n in (norm, *seen.at_step)):
        raise ValueError("Expected finite gradients, got a norm that is not finite.")
    worst = max(seen.at_step)
    smallest = min(seen.at_step)
    tolerance = max(1e-3, 4 * seen.eps)
    measured = f"the norm is {norm:.3g} before clipping and {worst:.3g} at the step"
    failures = []
    if worst > max_norm * (1 + tolerance):
        failures.append(measured)
    elif seen.changed:
        failures.append(
            "gradients are changed between the backward passes that accumulate them: clip their "
            "sum, before the step"
        )
    elif smallest < max_norm * OVERCLIPPED:
        failures.append(
            f"the norm is {norm:.3g} before clipping and only {smallest:.3g} at the step, as of "
            "gradients clipped before a GradScaler unscaled them"
        )
    elif smallest < max_norm * (1 - tolerance):
        raise ValueError(
            f"Expected the norm to which the step clips, got max_norm {max_norm:g} where it clips "
            f"to {smallest:.4g}."
        )
    return CheckResult.from_failures(
        10, f"gradients are clipped to the norm {max_norm:g} before the step", failures, measured
    )


class _Seen(NamedTuple):
    """Norms over all parameters of the optimizer."""

    before: float  # as backward left the scaled gradients, the largest of each
    at_step: list[float]
    closure: bool
    eps: float  # of the coarsest gradient
    changed: bool  # between two backward passes


def _watch(optimizer: torch.optim.Optimizer, step: Callable[[], object], factor: float) -> _Seen:
    """Run the step with gradients times a factor, and put everything back."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer_state = copy.deepcopy(optimizer.state_dict())
    saved = [(p.detach().clone(), None if p.grad is None else p.grad.clone()) for p in parameters]
    scaled_norms: dict[Tensor, float] = {}
    left: dict[Tensor, float] = {}  # the norm with which the last backward pass left a gradient
    changed: list[float] = []
    at_step: list[float] = []
    closures: list[bool] = []
    eps = [0.0]

    def compare(p: Tensor) -> None:
        """Before a gradient is added to another one."""
        norm = 0.0 if p.grad is None else float(_norm(p.grad))
        if norm and p in left and not math.isclose(norm, left[p], rel_tol=1e-3):
            changed.append(norm)

    def scale(p: Tensor) -> None:
        if p.grad is not None:
            p.grad.mul_(factor)
            left[p] = float(_norm(p.grad))
            scaled_norms[p] = max(scaled_norms.get(p, 0.0), left[p])
            eps[0] = max(eps[0], epsilon(p.grad.dtype))

    def look(own: Any, args: Any, kwargs: Any) -> None:
        left.clear()
        closures.append(any(a is not None for a in (*args[1:], *kwargs.values())))
        unscale = getattr(own, "grad_scale", None)  # of a fused step, which unscales by itself
        at_step.append(_global_norm(parameters) / (1.0 if unscale is None else float(unscale)))

    with ExitStack() as stack:
        for p in parameters:
            if p.requires_grad:
                stack.callback(p.register_hook(lambda _, p=p: compare(p)).remove)
                stack.callback(p.register_post_accumulate_grad_hook(scale).remove)
        stack.callback(optimizer.register_step_pre_hook(look).remove)
        try:
            step()
        finally:
            optimizer.load_state_dict(optimizer_state)
            with torch.no_grad():
                for p, (value, grad) in zip(parameters, saved, strict=True):
                    p.copy_(value)
                    p.grad = grad
    return _Seen(math.hypot(*scaled_norms.values()), at_step, any(closures), eps[0], bool(changed))


def _norm(grad: Tensor) -> Tensor:
    """In float64, because squares of half types overflow."""
    dense = grad.coalesce().values() if grad.is_sparse else grad
    norm: Tensor = dense.detach().double().norm()
    return norm


def _global_norm(parameters: list[Tensor]) -> float:
    return math.hypot(*[float(_norm(p.grad)) for p in parameters if p.grad is not None])
