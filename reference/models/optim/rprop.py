"""Rprop: steps whose size depends only on whether the sign of the gradient changes.

    θ  parameter, g  its gradient after equation (1) of `steps`
    δ  sizes of the steps      η₋ < 1 < η₊  factors

    (1)  f = η₊ if g g₋ > 0,  η₋ if g g₋ < 0,  otherwise 1       g₋ = 0, δ = η at first
    (2)  δ ← min(max(f δ, δ_min), δ_max)
    (3)  g ← 0 where g g₋ < 0                        g₋ ← g
    (4)  θ ← θ − sign(g) δ

Source: Riedmiller & Braun 1993; torch.optim.Rprop's documentation.
Page: docs/models/optim.md
"""

import math
from typing import NamedTuple

import numpy as np

from ..parameters import Params
from .arguments import check_pair, check_rate, check_step, to_float
from .steps import descent, step_each, zeros_of


class RpropState(NamedTuple):
    """The number of steps taken, the gradients of the last step after (3), and δ."""

    t: int
    before: Params
    size: Params


def update(
    theta: np.ndarray,
    g: np.ndarray,
    t: int,
    before: np.ndarray,
    size: np.ndarray,
    *,
    etas: tuple[float, float] = (0.5, 1.2),
    step_sizes: tuple[float, float] = (1e-6, 50.0),
    maximize: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """θ, g₋ and δ after a step; its number t has no effect."""
    g = descent(theta, g, 0, maximize)
    # The product of the signs: the product of small gradients would be 0 in narrow types.
    same = np.sign(g) * np.sign(before)
    # Differs: where the sign changes, the last step is not taken back, as in torch; Riedmiller &
    # Braun's first version takes it back.
    smaller, larger = etas
    size = np.where(same < 0, smaller * size, np.where(same > 0, larger * size, size))  # (1)
    size = np.minimum(np.maximum(size, step_sizes[0]), step_sizes[1])  # (2)
    g = np.where(same < 0, 0 * g, g)  # (3)
    return theta - np.sign(g) * size, g, size  # (4)


def rprop_start(params: Params, lr: float) -> RpropState:
    """The state before the first step: g₋ = 0 and steps of size η.

    Raises TypeError for what is not a dict of arrays, ValueError for a rate below 0, infinite or
    NaN.
    """
    lr = check_rate("lr", lr)
    return RpropState(0, zeros_of(params), {n: zero + lr for n, zero in zeros_of(params).items()})


def rprop(
    params: Params,
    grads: Params,
    state: RpropState,
    etas: tuple[float, float] = (0.5, 1.2),
    step_sizes: tuple[float, float] = (1e-6, 50.0),
    maximize: bool = False,
) -> tuple[Params, RpropState]:
    """Parameters and state after one step.

    Raises ValueError unless 0 < η₋ < 1 < η₊ < ∞ and 0 ≤ δ_min ≤ δ_max; other errors as `adam`.
    """
    smaller, larger = (to_float("etas", eta) for eta in check_pair("etas", etas))
    if not 0 < smaller < 1 < larger < math.inf:
        raise ValueError(f"Expected etas with 0 < smaller < 1 < larger, got {smaller}, {larger}.")
    least, most = (to_float("step_sizes", size) for size in check_pair("step_sizes", step_sizes))
    if not 0 <= least <= most:
        raise ValueError(f"Expected step_sizes in ascending order, got {least}, {most}.")
    check_step(params, grads, state, RpropState, "rprop_start")
    return step_each(
        update,
        params,
        grads,
        state,
        etas=(smaller, larger),
        step_sizes=(least, most),
        maximize=maximize,
    )
