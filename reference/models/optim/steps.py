"""One step of an optimiser for every parameter, and what all optimisers do to a gradient first.

    θ  parameter, g  its gradient        λ  weight decay

    (1)  g ← −g                          to maximise
    (2)  g ← g + λ θ                     the gradient of a penalty λ‖θ‖²/2

An optimiser is a function of the arrays of one parameter, `update`. It computes with the operators
of the arrays and numbers it is given, so that the same lines run in every number type; it writes
into none of them.

Source: torch.optim's documentation, for the order of (1) and (2).
Page: docs/models/optim.md
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..parameters import Params
from .arguments import check_arrays


def descent(theta: np.ndarray, g: np.ndarray, weight_decay: float, maximize: bool) -> np.ndarray:
    """The gradient of what is minimised."""
    if maximize:
        g = -g  # (1)
    if weight_decay:
        g = g + weight_decay * theta  # (2)
    return g


def zeros_of(params: Params) -> Params:
    """Zeros by name in the shapes of the parameters.

    Raises TypeError for parameters that are not a dict of arrays.
    """
    check_arrays("params", params)
    return {name: np.zeros_like(p) for name, p in params.items()}


def step_each(
    update: Callable[..., tuple[Any, ...]],
    params: Params,
    grads: Params,
    state: Any,
    **options: Any,
) -> tuple[Params, Any]:
    """Parameters and state after `update` of every parameter; `state` is (t, arrays by name, …).

    A field of the state without arrays is passed as None.
    """
    t, fields = state.t + 1, state[1:]
    done = {
        name: update(p, grads[name], t, *(field.get(name) for field in fields), **options)
        for name, p in params.items()
    }
    after = [
        {name: arrays[k] for name, arrays in done.items() if arrays[k] is not None}
        for k in range(1, len(state))
    ]
    moved = {name: arrays[0] for name, arrays in done.items()}
    return moved, type(state)(t, *after)
