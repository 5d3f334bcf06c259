"""Points 10 and 12: gradients are clipped before the step, and only training sees the truth."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .verdict import Verdict, gap, verdict
from .watch import mode, same_draws

BLOW_UP = 1e6


def clipping(
    optimizer: torch.optim.Optimizer, step: Callable[[], object], max_norm: float
) -> Verdict:
    """(10) When the optimiser moves, the global norm of the gradients is at most `max_norm`.

    `step()` is one training step of yours: backward, clipping, optimizer.step(). Gradients are
    blown up a million times as they are made, so that clipping has to act; parameters, gradients
    and the optimiser's state are put back afterwards.
    Raises ValueError for a step whose backward() or optimizer.step() does not happen.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    settings = copy.deepcopy(optimizer.state_dict())
    saved = [(p.detach().clone(), None if p.grad is None else p.grad.clone()) for p in parameters]
    made: dict[Tensor, float] = {}
    norms: list[float] = []

    def blow_up(p: Tensor) -> None:
        if p.grad is not None:
            p.grad *= BLOW_UP
            made[p] = float(p.grad.norm())

    hooks: list[Any] = [p.register_post_accumulate_grad_hook(blow_up) for p in parameters]
    hooks += [optimizer.register_step_pre_hook(lambda *_: norms.append(_norm(parameters)))]
    try:
        step()
    finally:
        for hook in hooks:
            hook.remove()
        optimizer.load_state_dict(settings)
        with torch.no_grad():
            for p, (value, grad) in zip(parameters, saved, strict=True):
                p.copy_(value)
                p.grad = grad
    blown = math.hypot(*made.values())
    if not norms or not blown > max_norm:
        raise ValueError(
            "Expected a step that calls backward() and optimizer.step(), with gradients that a "
            f"factor of {BLOW_UP:g} takes beyond {max_norm:g}; got {len(norms)} steps and the "
            f"norm {blown:.3g}."
        )
    faults = []
    if not all(n <= max_norm * (1 + 1e-4) for n in norms):
        faults.append(f"made with norm {blown:.3g}, they reach the optimiser with {norms[-1]:.3g}")
    return verdict(
        10,
        f"gradients are clipped to the norm {max_norm:g} before the step",
        faults,
        f"made with norm {blown:.3g}, they reach the optimiser with {norms[-1]:.3g}",
    )


def teacher_forcing(
    model: nn.Module, run: Callable[[Tensor], Tensor], target: Tensor, other: Tensor
) -> Verdict:
    """(12) What `run(target)` computes depends on the target in training, not in evaluation.

    `run` decodes with `model` and gives its logits or tokens; target and other are two targets of
    one shape. Random numbers are the same in all runs.
    Raises ValueError for targets that are equal.
    """
    if torch.equal(target, other):
        raise ValueError("Expected two targets that differ, got the same twice.")
    moved = {}
    for training in (True, False):
        results = []
        for given in (target, other):
            with mode(model, training), same_draws(), torch.no_grad():
                results.append(run(given))
        moved[training] = gap(*results)
    faults = []
    if moved[False]:
        faults.append(f"in evaluation another target moves the result by {moved[False]:.2g}")
    trained = "fed with the target" if moved[True] else "not fed with the target either"
    return verdict(
        12, "the truth is fed in training alone", faults, f"in training the model is {trained}"
    )


def _norm(parameters: list[Tensor]) -> float:
    return math.hypot(*[float(p.grad.norm()) for p in parameters if p.grad is not None])
