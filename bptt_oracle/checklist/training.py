"""Points 10 and 12: gradients are clipped before the step; only training feeds the target."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .check_result import CheckResult, difference
from .model_calls import fixed_seed, set_mode

GRADIENT_SCALE = 1e6


def clipping(
    optimizer: torch.optim.Optimizer, step: Callable[[], object], max_norm: float
) -> CheckResult:
    """(10) At the optimizer's step the global norm of the gradients is at most `max_norm`.

    Gradients are multiplied by a million as they are accumulated, so that clipping has to act. The
    parameters, their gradients and the optimizer's state are restored afterwards.

    Args:
        optimizer: the optimizer that `step` uses; the norm is over all its parameters.
        step: takes no arguments: one training step with backward(), clipping, optimizer.step().
        max_norm: the largest global L2 norm allowed; a relative excess of 1e-4 is accepted.

    Returns:
        Holds: every optimizer.step() sees clipped gradients. Fails: reports the norm before and at
        the step, because clipping is missing, too early, too late, or of some parameters only.

    Raises:
        ValueError: `step` does not call optimizer.step(), or the scaled gradients do not exceed
            max_norm, as without backward().
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer_state = copy.deepcopy(optimizer.state_dict())
    saved = [(p.detach().clone(), None if p.grad is None else p.grad.clone()) for p in parameters]
    scaled_norms: dict[Tensor, float] = {}
    step_norms: list[float] = []

    def scale(p: Tensor) -> None:
        if p.grad is not None:
            p.grad *= GRADIENT_SCALE
            scaled_norms[p] = float(p.grad.norm())

    hooks: list[Any] = [p.register_post_accumulate_grad_hook(scale) for p in parameters]
    hooks += [
        optimizer.register_step_pre_hook(lambda *_: step_norms.append(_global_norm(parameters)))
    ]
    try:
        step()
    finally:
        for hook in hooks:
            hook.remove()
        optimizer.load_state_dict(optimizer_state)
        with torch.no_grad():
            for p, (value, grad) in zip(parameters, saved, strict=True):
                p.copy_(value)
                p.grad = grad
    norm = math.hypot(*scaled_norms.values())
    if not step_norms or not norm > max_norm:
        raise ValueError(
            "Expected a step that calls backward() and optimizer.step(), with gradients that "
            f"exceed {max_norm:g} once scaled by {GRADIENT_SCALE:g}; got {len(step_norms)} steps "
            f"and the norm {norm:.3g}."
        )
    measured = f"the norm is {norm:.3g} before clipping and {step_norms[-1]:.3g} at the step"
    clipped = all(n <= max_norm * (1 + 1e-4) for n in step_norms)
    return CheckResult.from_failures(
        10,
        f"gradients are clipped to the norm {max_norm:g} before the step",
        [] if clipped else [measured],
        measured,
    )


def teacher_forcing(
    model: nn.Module, run: Callable[[Tensor], Tensor], target: Tensor, other_target: Tensor
) -> CheckResult:
    """(12) The target is fed to the model only in training.

    Random numbers are the same in all runs. The model is put back in its own mode.

    Args:
        model: the model that `run` decodes with; it is switched between training and evaluation.
        run: run(target) -> logits or tokens, any shape.
        target: tokens [B, T], integers.
        other_target: different tokens of the same shape.

    Returns:
        Holds: in evaluation mode the result does not depend on the target. The evidence reports
        whether it does in training mode. Fails: reports how much the result changes.

    Raises:
        ValueError: the two targets are equal.
    """
    if torch.equal(target, other_target):
        raise ValueError("Expected two different targets, got the same twice.")
    changes = {}
    for training in (True, False):
        results = []
        for fed in (target, other_target):
            with set_mode(model, training), fixed_seed(), torch.no_grad():
                results.append(run(fed))
        changes[training] = difference(*results)
    failures = []
    if changes[False]:
        failures.append(f"in evaluation another target changes the result by {changes[False]:.2g}")
    in_training = "fed" if changes[True] else "not fed either"
    return CheckResult.from_failures(
        12,
        "the target is fed to the model only in training",
        failures,
        f"in training the target is {in_training}",
    )


def _global_norm(parameters: list[Tensor]) -> float:
    return math.hypot(*[float(p.grad.norm()) for p in parameters if p.grad is not None])
