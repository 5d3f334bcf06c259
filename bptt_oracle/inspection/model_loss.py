"""The loss of a model, measured by its own evaluation in float64.

The loss is not derived by hand, so its truth comes from torch: the same model and batch in float64.
The noise is how far the loss moves when every weight and every number of the batch is moved by one
unit roundoff. A model may amplify rounding in other ways than this shows, so a large R is not a
fault: above the limit the loss is untrusted, with R in the note.

Page: docs/runs/your_model.md
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from torch_impl.execution.precision import UNIT_ROUNDOFF

from ..judging.judge import LIMIT
from ..processes.failures import lacks_resources
from .model_subject import Subject, map_numbers, seed_all

MOVED_RUNS = 4


class JudgedLoss(NamedTuple):
    """R of the loss, None if it cannot be judged, and why."""

    R: float | None
    note: str


def judge_loss(subject: Subject, loss: Tensor, draws_random_numbers: bool) -> JudgedLoss:
    """Judge the loss of a subject, whose model is then in float64 and of no further use."""
    dtype = str(loss.dtype).removeprefix("torch.")
    if dtype == "float64" or dtype not in UNIT_ROUNDOFF:
        return JudgedLoss(None, f"a loss in {dtype} has no wider evaluation")
    if draws_random_numbers:
        return JudgedLoss(None, "the step draws random numbers, which differ in float64")
    u = UNIT_ROUNDOFF[dtype]
    try:
        subject.model.double()
        exact = _loss_in_float64(subject, subject.batch)
        if exact is None:
            return JudgedLoss(None, "the loss is not float64 where model and batch are")
        moved = [_moved_loss(subject, u, k) for k in range(MOVED_RUNS)]
    except Exception as error:
        if lacks_resources(error):
            raise
        return JudgedLoss(None, f"the model does not run in float64: {type(error).__name__}")
    value = float(loss.detach())
    if not math.isfinite(exact):
        return JudgedLoss(None, f"the loss is {exact} in float64 as well")
    if not math.isfinite(value):
        return JudgedLoss(None, f"the loss is {value}, and {exact:.6g} in float64")
    noise = max(u * abs(exact), *(abs(m - exact) for m in moved))
    R = abs(value - exact) / noise if noise else 0.0
    if not R <= LIMIT:
        return JudgedLoss(None, f"the loss is {value:.9g}, and {exact:.9g} in float64, R {R:.3g}")
    return JudgedLoss(R, "")


def _loss_in_float64(subject: Subject, batch: Any) -> float | None:
    """The loss of the model, which is in float64; None if it is in another dtype."""
    seed_all()
    with torch.no_grad():
        loss = subject.loss(subject.model, map_numbers(_double, batch))
    return float(loss) if loss.dtype == torch.float64 else None


def _double(_: str, value: Any) -> Any:
    """Real numbers in float64, integers as they are."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float64) if value.dtype.kind == "f" else value
    return value.double() if value.is_floating_point() else value


def _moved_loss(subject: Subject, u: float, k: int) -> float:
    """The loss after every weight and number of the batch is moved by u up or down; run k."""
    rng = np.random.default_rng(k)

    def moved(_: str, value: Any) -> Any:
        wide = _double("", value)
        if isinstance(wide, Tensor) and not wide.is_floating_point():
            return wide
        if isinstance(wide, np.ndarray):
            return (
                wide * (1 + u * rng.choice([-1, 1], wide.shape)) if wide.dtype.kind == "f" else wide
            )
        signs = rng.choice([-1.0, 1.0], tuple(wide.shape))
        return wide * (1 + u * torch.as_tensor(signs).to(wide.device))

    parameters = {p: p.detach().clone() for p in subject.model.parameters()}
    with torch.no_grad():
        for p in parameters:
            p.copy_(moved("", p))
    loss = _loss_in_float64(subject, map_numbers(moved, subject.batch))
    with torch.no_grad():
        for p, before in parameters.items():
            p.copy_(before)
    return math.nan if loss is None else loss
