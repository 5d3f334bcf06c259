"""RMSprop: the gradient over the root of its running mean square.

    θ  parameter, g  its gradient after equations (1) and (2) of `steps`
    η  learning rate      α  decay of the means      μ  momentum

    (1)  s ← α s + (1 − α) g²                        0 at first
    (2)  ḡ ← ḡ + (1 − α)(g − ḡ)                      centered only, 0 at first
    (3)  d = g / (√(s − ḡ²) + ε)                     centered; otherwise d = g / (√s + ε)
    (4)  b ← μ b + d                                 with momentum, 0 at first; otherwise b = d
    (5)  θ ← θ − η b

Source: Hinton, Srivastava & Swersky 2012, lecture 6 (1, 5); Graves 2013, section 4.2 (2, 3);
torch.optim.RMSprop's documentation for ε outside of the root and for (4).
Page: docs/models/optim.md
"""

from typing import NamedTuple

import numpy as np

from ..parameters import Params
from .arguments import check_rate, check_rates, check_step
from .steps import descent, step_each, zeros_of


class RMSpropState(NamedTuple):
    """The number of steps taken, s, and where the options need them ḡ and b."""

    t: int
    s: Params
    mean: Params = {}
    b: Params = {}


def update(
    theta: np.ndarray,
    g: np.ndarray,
    t: int,
    s: np.ndarray,
    mean: np.ndarray | None = None,
    b: np.ndarray | None = None,
    *,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
    maximize: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """θ, s, ḡ and b after a step; its number t has no effect. ḡ and b are None where unused."""
    g = descent(theta, g, weight_decay, maximize)
    s = alpha * s + (1 - alpha) * (g * g)  # (1)
    variance = s
    if centered and mean is not None:
        mean = mean + (1 - alpha) * (g - mean)  # (2)
        variance = s - mean * mean
    # Differs: ε is outside of the root, as in torch; Graves has it inside.
    d = g / (np.sqrt(variance) + eps)  # (3)
    if momentum and b is not None:
        b = momentum * b + d  # (4)
        d = b
    return theta - lr * d, s, mean, b  # (5)


def rmsprop_start(params: Params, centered: bool = False, momentum: float = 0.0) -> RMSpropState:
    """The state before the first step. Raises TypeError for what is not a dict of arrays."""
    mean = zeros_of(params) if centered else {}
    return RMSpropState(0, zeros_of(params), mean, zeros_of(params) if momentum else {})


def rmsprop(
    params: Params,
    grads: Params,
    state: RMSpropState,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
    maximize: bool = False,
) -> tuple[Params, RMSpropState]:
    """Parameters and state after one step. Raises errors as `adam`; α must be in [0, 1)."""
    # Differs: torch accepts every α of at least 0.
    alpha = check_rate("alpha", alpha, 1)
    numbers = check_rates(lr=lr, eps=eps, weight_decay=weight_decay, momentum=momentum)
    unused = f"{'' if centered else 'mean'} {'' if momentum else 'b'}"
    check_step(params, grads, state, RMSpropState, "rmsprop_start", unused)
    return step_each(
        update, params, grads, state, alpha=alpha, centered=centered, maximize=maximize, **numbers
    )
