"""Derivatives of functions of named arrays, and the adjoint identity ⟨v̄, J u⟩ = ⟨Jᵀv̄, u⟩.

    (1)  J u = Im f(x + iεu) / ε               complex step: exact to rounding, takes no difference
    (2)  J u = (f(x + hu) − f(x − hu)) / 2h    central difference

Of (1) only an analytic f has the derivative: its value must be a convergent series in x, which |x|,
the real part and a cast to float are not.

Source: Squire & Trapp 1998 for (1).
Page: docs/implementations/adjoint.md
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]
Function = Callable[[dict[str, np.ndarray]], Arrays]

STEP = 1e-30  # ε: its square is far below the unit roundoff


def complex_step(f: Function, inputs: Arrays, direction: Arrays) -> dict[str, np.ndarray]:
    """J u by name of the output, for u = `direction`, of an analytic f; real arrays."""
    moved = f({name: v + 1j * STEP * direction[name] for name, v in inputs.items()})
    return {name: np.imag(v) / STEP for name, v in moved.items()}  # (1)


def central_difference(
    f: Function, inputs: Arrays, direction: Arrays, h: float
) -> dict[str, np.ndarray]:
    """J u by name of the output, for u = `direction`, to about h² and the unit roundoff over h."""
    above = f({name: v + h * direction[name] for name, v in inputs.items()})
    below = f({name: v - h * direction[name] for name, v in inputs.items()})
    return {name: (above[name] - below[name]) / (2 * h) for name in above}  # (2)


def adjoint_gap(
    cotangents: Arrays, moved: Arrays, pulled: Arrays, direction: Arrays
) -> tuple[Any, Any]:
    """|⟨v̄, J u⟩ − ⟨Jᵀv̄, u⟩|, and the sum of the magnitudes of all products, its scale.

    `moved` is J u and `pulled` is Jᵀv̄, both by name; `direction` is u.
    """
    left = [cotangents[name] * moved[name] for name in moved]
    right = [pulled[name] * direction[name] for name in direction]
    gap = abs(sum(term.sum() for term in left) - sum(term.sum() for term in right))
    return gap, sum(np.abs(term).sum() for term in left + right)
