"""Deviations of torch's optimisers that no case can show, each shown by a function.

Cases judge parameters and states after steps with rates that are numbers. These are derivatives of
steps, and a rate in a tensor. A function returns whether the deviation occurs; it runs in a check
of the path that RUNS_WITH names for it.
"""

from collections.abc import Collection
from typing import Any

import torch

RUNS_WITH = {
    "first_gradient_is_detached": "cpu-sgd-differentiable",
    "no_slope_at_a_gradient_of_0": "cpu-adam-differentiable",
    "adamax_cannot_be_differentiated": "cpu-adamax-differentiable",
    "rate_in_a_tensor": "cpu-adam-loop",
    "epsilon_is_0_in_float16": "cpu-adam-loop",
}


def check_demonstration(name: str) -> None:
    """Raise ValueError if there is no demonstration with that name."""
    if name not in RUNS_WITH:
        raise ValueError(f"there is no demonstration {name!r} in optimizers/demonstrations.py")


def demonstrate(name: str, paths: Collection[str]) -> bool | None:
    """Run the demonstration with that name; None if its path is none of `paths`."""
    if RUNS_WITH[name] not in paths:
        return None
    occurs: bool = globals()[name]()
    return occurs


def _trained(kind: Any, gradients: list[torch.Tensor], **options: Any) -> torch.Tensor:
    """A differentiable parameter of one element, 0 at first, after a step with each gradient."""
    theta = torch.zeros_like(gradients[0]).requires_grad_().clone()
    optimizer = kind([theta], differentiable=True, **options)
    for gradient in gradients:
        theta.grad = gradient.clone()
        optimizer.step()
    return theta


def _number(value: float, requires_grad: bool = False) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64, requires_grad=requires_grad)


def first_gradient_is_detached() -> bool:
    """SGD with momentum: dθ₂/dg₁ is −η (1 + μ), and torch has none."""
    g = _number(1.0, requires_grad=True)
    theta = _trained(torch.optim.SGD, [g, _number(1.0)], lr=0.5, momentum=0.5)
    (slope,) = torch.autograd.grad(theta.sum(), g, materialize_grads=True)
    return abs(slope.item() + 0.75) > 1e-9


def no_slope_at_a_gradient_of_0() -> bool:
    """The first step of Adam, −η g / (|g| + ε), has the slope −η/ε at 0; torch has NaN."""
    g = _number(0.0, requires_grad=True)
    theta = _trained(torch.optim.Adam, [g], lr=0.5, eps=0.25)
    (slope,) = torch.autograd.grad(theta.sum(), g)
    return not abs(slope.item() + 2) < 1e-3


def adamax_cannot_be_differentiated() -> bool:
    """A derivative by the first of two gradients raises, because a tensor was changed in place."""
    g = _number(1.0, requires_grad=True)
    theta = _trained(torch.optim.Adamax, [g, _number(2.0)], lr=0.5)
    try:
        torch.autograd.grad(theta.sum(), g)
    except RuntimeError as error:
        return "inplace" in str(error)
    return False


def rate_in_a_tensor() -> bool:
    """Two steps of Adam with the rate 0.125 in a float32 tensor, which holds it, in float64."""
    theta = torch.nn.Parameter(_number(0.0))
    optimizer = torch.optim.Adam([theta], lr=torch.tensor(0.125), foreach=False)
    for _ in range(2):
        theta.grad = _number(1.0)
        optimizer.step()
    return abs(theta.item() + 0.25 / (1 + 1e-8)) > 1e-12


def epsilon_is_0_in_float16() -> bool:
    """A step of Adam in float16 with a gradient of 0, which moves nothing, is 0/0."""
    theta = torch.nn.Parameter(torch.zeros(1, dtype=torch.float16))
    theta.grad = torch.zeros_like(theta)
    torch.optim.Adam([theta], lr=0.5, foreach=False).step()
    return theta.item() != 0
