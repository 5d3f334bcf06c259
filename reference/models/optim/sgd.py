"""Stochastic gradient descent with momentum.

    θ  parameter, g  its gradient after equations (1) and (2) of `steps`
    η  learning rate      μ  momentum      τ  dampening      v  velocity

    (1)  v ← μ v + (1 − τ) g              v = g at the first step
    (2)  d = g + μ v                      Nesterov; otherwise d = v
    (3)  θ ← θ − η d

Source: Polyak 1964, Sutskever et al. 2013 (1, 2); torch.optim.SGD's documentation for τ and (3).
Page: docs/models/optim.md
"""

import numpy as np

from ..parameters import Params
from .arguments import check_arrays, check_rates, check_same, to_float
from .steps import descent


def update(
    theta: np.ndarray,
    g: np.ndarray,
    t: int,
    v: np.ndarray | None,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """θ and v after a step; its number t has no effect. v is None at the first."""
    g = descent(theta, g, weight_decay, maximize)
    # Differs: the first v is g without (1 − τ), as in torch.
    v = g.copy() if v is None else momentum * v + (1 - dampening) * g  # (1)
    # Differs: θ is where g is taken, as in torch; Sutskever et al. keep the point before + μ v.
    d = g + momentum * v if nesterov else v  # (2)
    # Differs: η multiplies v here, as in torch; Sutskever et al. multiply g by it in (1), so that a
    # change of the rate does not act on earlier gradients.
    return theta - lr * d, v  # (3)


def sgd(
    params: Params,
    grads: Params,
    velocity: Params | None,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> tuple[Params, Params]:
    """Parameters and velocity after one step; `velocity` is None at the first.

    Raises ValueError for a rate, momentum or weight decay below 0, infinite or NaN, and for
    Nesterov without momentum or with dampening; RuntimeError for gradients or a velocity with other
    names or shapes than the parameters; TypeError for other types.
    """
    numbers = check_rates(lr=lr, momentum=momentum, weight_decay=weight_decay)
    dampening = to_float("dampening", dampening)
    if nesterov and not (numbers["momentum"] > 0 and dampening == 0):
        raise ValueError("Expected a momentum above 0 and no dampening with nesterov=True.")
    check_arrays("params", params)
    check_same("grads", grads, params)
    if velocity is not None:
        check_same("velocity", velocity, params)
    t = 1 if velocity is None else 2
    moved, after = {}, {}
    for n, p in params.items():
        v = None if velocity is None else velocity[n]
        moved[n], after[n] = update(
            p, grads[n], t, v, **numbers, dampening=dampening, nesterov=nesterov, maximize=maximize
        )
    return moved, after
