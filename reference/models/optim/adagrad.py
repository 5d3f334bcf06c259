"""Adagrad: each element has its own rate, which falls with the squares of its gradients.

    θ  parameter, g  its gradient after equations (1) and (2) of `steps`
    η  learning rate      t = 1, 2, …  number of the step      γ  decay of the rate

    (1)  s ← s + g²                                  a start value, 0 unless given
    (2)  θ ← θ − η / (1 + (t − 1) γ) · g / (√s + ε)

Source: Duchi, Hazan & Singer 2011; torch.optim.Adagrad's documentation for γ, ε and the start.
Page: docs/models/optim.md
"""

from typing import NamedTuple

import numpy as np

from ..parameters import Params
from .arguments import check_rate, check_rates, check_step
from .steps import descent, step_each, zeros_of


class AdagradState(NamedTuple):
    """The number of steps taken and the sums of squares."""

    t: int
    s: Params


def update(
    theta: np.ndarray,
    g: np.ndarray,
    t: int,
    s: np.ndarray,
    *,
    lr: float,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    eps: float = 1e-10,
    maximize: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """θ and s after step t."""
    g = descent(theta, g, weight_decay, maximize)
    s = s + g * g  # (1)
    return theta - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s) + eps), s  # (2)


def adagrad_start(params: Params, initial_accumulator_value: float = 0.0) -> AdagradState:
    """The state before the first step.

    Raises TypeError for what is not a dict of arrays, ValueError for a start value below 0,
    infinite or NaN.
    """
    value = check_rate("initial_accumulator_value", initial_accumulator_value)
    return AdagradState(0, {name: zero + value for name, zero in zeros_of(params).items()})


def adagrad(
    params: Params,
    grads: Params,
    state: AdagradState,
    lr: float,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    eps: float = 1e-10,
    maximize: bool = False,
) -> tuple[Params, AdagradState]:
    """Parameters and state after one step. Raises errors as `adam`."""
    numbers = check_rates(lr=lr, lr_decay=lr_decay, weight_decay=weight_decay, eps=eps)
    check_step(params, grads, state, AdagradState, "adagrad_start")
    return step_each(update, params, grads, state, maximize=maximize, **numbers)
