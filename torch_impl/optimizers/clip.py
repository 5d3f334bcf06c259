"""Run torch's clipping of gradients, in the loop form or the foreach form."""

from typing import NamedTuple

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from .layouts import GUARDS, Placed, array_of, place


class ClippingProblem(NamedTuple):
    """Gradients by name, float64, rounded to the tested dtype, and how they are clipped."""

    grads: dict[str, np.ndarray]
    limit: float
    p: float | None  # of the norm; None clips by value
    layout: str
    error_if_nonfinite: bool = False


class Clipped(NamedTuple):
    """The gradients by name, the norm under "norm", and whether other memory was changed."""

    results: dict[str, np.ndarray]
    damaged: bool


def clip(problem: ClippingProblem, dtype: str, foreach: bool) -> Clipped:
    """Clip the gradients of a problem. Raises what torch raises."""
    kind = getattr(torch, dtype)
    placed = {
        n: place(torch.tensor(g, dtype=kind), problem.layout, GUARDS)
        for n, g in problem.grads.items()
    }
    leaves = []
    for one in placed.values():
        leaf = torch.nn.Parameter(torch.zeros(one.tensor.shape, dtype=kind))
        leaf.grad = one.tensor
        leaves.append(leaf)
    before = [one.bits() for one in placed.values()]
    results = {}
    if problem.p is None:
        clip_grad_value_(leaves, problem.limit, foreach=foreach)
    else:
        norm = clip_grad_norm_(
            leaves,
            problem.limit,
            problem.p,
            error_if_nonfinite=problem.error_if_nonfinite,
            foreach=foreach,
        )
        results["norm"] = array_of(norm)
    results |= {n: array_of(one.tensor) for n, one in placed.items()}
    return Clipped(results, any(map(_changed_outside, placed.values(), before)))


def _changed_outside(placed: Placed, before: torch.Tensor) -> bool:
    return bool((placed.bits() != before)[~placed.inside].any())
