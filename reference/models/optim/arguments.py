"""The rules that the arguments of optimisers and of clipping follow.

Source: the constructors of torch.optim for the limits and the exceptions.
Page: docs/models/optim.md
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...arrays import check_array
from ..parameters import Params


def to_float(name: str, value: object) -> float:
    """The number as a Python float; raises TypeError for a value that is not one number.

    Products with a Python float keep an array's dtype; a NumPy float64 would widen float32.
    """
    try:
        if isinstance(value, (str, bytes, np.complexfloating)):
            raise TypeError
        return float(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"Expected {name} to be a number, got {type(value).__name__}.") from None


def check_rate(name: str, value: object, limit: float = math.inf) -> float:
    """The number as a Python float; raises ValueError unless 0 ≤ number < limit.

    Rates are checked at every step, because a schedule may change them.
    """
    number = to_float(name, value)
    # Differs: torch accepts ∞, and in SGD NaN.
    if not 0 <= number < limit:
        bounds = "finite" if limit == math.inf else f"below {limit}"
        raise ValueError(f"Expected {name} to be at least 0 and {bounds}, got {value}.")
    return number


def check_rates(**values: object) -> dict[str, float]:
    """The numbers by name as Python floats; raises ValueError unless each is 0 ≤ number < ∞."""
    return {name: check_rate(name, value) for name, value in values.items()}


def check_pair(name: str, value: object) -> tuple[object, object]:
    """The two elements; raises TypeError for what has no elements, ValueError for another count."""
    if not isinstance(value, Iterable):
        raise TypeError(f"Expected {name} to be two numbers, got {type(value).__name__}.")
    pair = tuple(value)
    if len(pair) != 2:
        raise ValueError(f"Expected {name} to be two numbers, got {len(pair)}.")
    return pair[0], pair[1]


def check_betas(betas: object) -> tuple[float, float]:
    """Both as Python floats; raises ValueError unless they are two numbers, 0 ≤ β < 1."""
    first, second = check_pair("betas", betas)
    return check_rate("betas[0]", first, 1), check_rate("betas[1]", second, 1)


def check_arrays(label: str, arrays: Params) -> None:
    """Raise TypeError unless this is a dict of arrays; NumPy's scalars are arrays without axes."""
    if not isinstance(arrays, Mapping):
        raise TypeError(f"{label} should be a dict of arrays, got {type(arrays).__name__}.")
    for name, value in arrays.items():
        if not isinstance(value, np.generic):
            check_array(f"{label}[{name!r}]", value, TypeError)


def check_same(label: str, arrays: Params, params: Params) -> None:
    """Raise RuntimeError unless the arrays have the names and shapes of the parameters."""
    check_arrays(label, arrays)
    if arrays.keys() != params.keys():
        raise RuntimeError(
            f"{label} should have the names of the parameters: missing "
            f"{[n for n in params if n not in arrays]}, unexpected "
            f"{[n for n in arrays if n not in params]}."
        )
    for name, p in params.items():
        if arrays[name].shape != p.shape:
            raise RuntimeError(
                f"Expected {label}[{name!r}] of size {p.shape}, as of the parameter, got "
                f"{arrays[name].shape}."
            )


def check_step(
    params: Params, grads: Params, state: Any, kind: Any, start: str, unused: str = ""
) -> None:
    """Raise an error unless the parameters are arrays, and the gradients and the state, one of this
    kind, fit them.

    `start` is the function that begins a state; `unused` names the fields that the options leave
    out.
    """
    check_arrays("params", params)
    check_same("grads", grads, params)
    if not isinstance(state, kind):
        raise TypeError(
            f"state should be an {kind.__name__}, got {type(state).__name__}: begin with {start}."
        )
    values = state._asdict()
    if values.pop("t") < 0:
        raise ValueError(f"Expected state.t to be at least 0, got {state.t}.")
    for field, arrays in values.items():
        if field not in unused.split():
            check_same(f"state.{field}", arrays, params)
