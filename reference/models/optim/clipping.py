"""Clipping of gradients: by their norm over all arrays, and by value.

    g  gradients, a dict of arrays       c  the largest norm or value

    (1)  ‖g‖ = √Σ g²                     one norm over all arrays
    (2)  ‖g‖ = Σ |g|                     p = 1
    (3)  ‖g‖ = max |g|                   p = ∞
    (4)  g ← g · min(1, c / (‖g‖ + 10⁻⁶))
         ‖g‖ = 0 changes nothing; ‖g‖ = ∞ gives 0, and NaN where g was infinite;
         ‖g‖ = NaN makes every gradient NaN
    (5)  g ← min(max(g, −c), c)          by value; NaN stays NaN

Source: Pascanu et al. 2013 (1, 4); torch.nn.utils' documentation (2, 3, 5).
Page: docs/models/optim.md
"""

import math

import numpy as np

from ..parameters import Params
from .arguments import check_arrays, to_float


def global_norm(grads: Params, p: float = 2.0) -> np.ndarray:
    """‖g‖ for p = 1, 2 or ∞, a scalar; 0 without any elements.

    Raises TypeError for gradients that are not a dict of arrays, ValueError for another p.
    """
    check_arrays("grads", grads)
    p = to_float("p", p)
    if p == 2:
        norm: np.ndarray = np.sqrt(sum((g * g).sum() for g in grads.values()))  # (1)
    elif p == 1:
        norm = np.asarray(sum(abs(g).sum() for g in grads.values()))  # (2)
    elif p == math.inf:
        largest = [abs(g).max() for g in grads.values() if g.size]
        norm = np.max(largest) if largest else np.zeros(())  # (3)
    else:
        # Differs: torch accepts every p.
        raise ValueError(f"Expected p to be 1, 2 or inf, got {p}.")
    return norm


def clip_by_global_norm(
    grads: Params, max_norm: float, p: float = 2.0, error_if_nonfinite: bool = False
) -> tuple[Params, np.ndarray]:
    """The clipped gradients and the norm before clipping.

    A max_norm of 0 makes every gradient 0, as in torch, and ∞ clips nothing. Raises ValueError for
    a max_norm below 0, which would reverse the gradients, or NaN, and for a p other than 1, 2, ∞;
    TypeError for other types; RuntimeError for a norm of ∞ or NaN, if `error_if_nonfinite`.
    """
    max_norm = to_float("max_norm", max_norm)
    # Differs: torch reverses the gradients for a max_norm below 0, and makes them NaN for NaN.
    if not max_norm >= 0:
        raise ValueError(
            f"Expected max_norm to be at least 0, got {max_norm}: pass inf to clip nothing."
        )
    norm = global_norm(grads, p)
    if error_if_nonfinite and not np.isfinite(norm):
        raise RuntimeError(f"Expected gradients with a finite norm, got a norm of {norm}.")
    # Differs: 10⁻⁶ is added, as in torch; Pascanu et al. divide by the norm itself.
    scale = max_norm / (norm + 1e-6)
    scale = np.where(scale.real > 1, 1, scale)  # not np.minimum: NaN stays NaN
    return {name: g * scale for name, g in grads.items()}, norm  # (4)


def clip_by_value(grads: Params, max_value: float) -> Params:
    """The gradients, each element moved into [−max_value, max_value].

    Raises ValueError for a max_value below 0 or NaN; TypeError for other types.
    """
    max_value = to_float("max_value", max_value)
    # Differs: torch sets every element to max_value if it is below 0, and to NaN for NaN.
    if not max_value >= 0:
        raise ValueError(f"Expected max_value to be at least 0, got {max_value}.")
    check_arrays("grads", grads)
    return {n: np.minimum(np.maximum(g, -max_value), max_value) for n, g in grads.items()}  # (5)
