"""A forward and a backward pass in NumPy, evaluated at the same inputs for `check_adjoint`."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .complex_step import Arrays

EPS = float(np.finfo(np.float64).eps)


class Pair(NamedTuple):
    """The two functions and where they are compared, all float64, by name."""

    f: Callable[[Arrays], dict[str, np.ndarray]]
    back: Callable[[Arrays, Arrays], dict[str, Any]]  # of inputs and cotangents
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    cotangents: dict[str, np.ndarray]
    gradients: dict[str, Any]  # as f_back returned them


def named(
    inputs: Sequence[Any] | Mapping[str, Any], f: Callable[..., Any]
) -> dict[str, np.ndarray]:
    """Copies of the inputs in float64, by name; of a sequence the names of f's arguments.

    Raises ValueError if there is no input or one is not real.
    """
    if not isinstance(inputs, Mapping):
        arrays = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
        try:
            names = [
                name
                for name, p in inspect.signature(f).parameters.items()
                if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
            ]
        except (TypeError, ValueError):  # a function that has no signature
            names = []
        if len(names) < len(arrays):
            names = [f"input {k}" for k in range(len(arrays))]
        inputs = dict(zip(names, arrays, strict=False))
    if not inputs:
        raise ValueError("Expected one input or more, got none.")
    for name, value in inputs.items():
        dtype = np.asarray(value).dtype
        if dtype.kind != "f":
            raise ValueError(
                f"Expected inputs of a real floating dtype, got {dtype} for {name}; convert it, or "
                f"bind it with functools.partial if f has no derivative in it."
            )
    return {name: np.array(value, np.float64) for name, value in inputs.items()}


def evaluate(
    f: Callable[..., Any],
    f_back: Callable[..., Any],
    inputs: dict[str, np.ndarray],
    rng: np.random.Generator,
) -> Pair:
    """Both functions at the inputs, with random cotangents.

    Raises ValueError if f does not return finite float64, or not the same twice, or f_back another
    number of gradients.
    """
    call = partial(_call, f)
    outputs = call(inputs)
    for name, value in outputs.items():
        if value.dtype.kind != "f" or value.dtype.itemsize < 8:
            raise ValueError(
                f"Expected f to return float64 from inputs of float64, got {value.dtype} in {name}."
            )
        if not np.isfinite(value).all():
            raise ValueError(f"Expected finite values of f, got NaN or infinity in {name}.")
    again = call(inputs)
    if not all(np.allclose(again[name], value, 1e-9) for name, value in outputs.items()):
        raise ValueError("Expected the same values of f in two calls: fix its random numbers.")
    cotangents = {name: np.array(rng.standard_normal(v.shape)) for name, v in outputs.items()}
    back = partial(_call_back, f_back)
    return Pair(call, back, inputs, outputs, cotangents, back(inputs, cotangents))


def _call(f: Callable[..., Any], inputs: Arrays) -> dict[str, np.ndarray]:
    """The outputs by name: output 0, output 1 …"""
    returned = f(*_copies(inputs))
    values = returned if isinstance(returned, tuple | list) else [returned]
    return {f"output {k}": np.asarray(value) for k, value in enumerate(values)}


def _copies(arrays: Arrays) -> list[np.ndarray]:
    """What a function may write into."""
    return [value.copy() for value in arrays.values()]


def _call_back(f_back: Callable[..., Any], inputs: Arrays, cotangents: Arrays) -> dict[str, Any]:
    """What f_back returns, by name of the input."""
    returned, names = f_back(*_copies(inputs), *_copies(cotangents)), list(inputs)
    if isinstance(returned, Mapping):
        if set(returned) != set(names):
            raise ValueError(
                f"Expected f_back to return gradients of {', '.join(names)}, got "
                f"{', '.join(map(str, returned)) or 'none'}."
            )
        return {name: returned[name] for name in names}
    values = returned if isinstance(returned, tuple | list) else [returned]
    if len(values) != len(names):
        raise ValueError(
            f"Expected f_back to return {len(names)} gradients ({', '.join(names)}), got "
            f"{len(values)}."
        )
    return dict(zip(names, values, strict=True))


def perturbed(pair: Pair, size: float, seed: int) -> Pair:
    """The pair at inputs and cotangents changed by `size` of each element, with random signs; the
    gradients are those of before."""
    rng = np.random.default_rng(seed)
    inputs, cotangents = [
        {name: v * (1 + size * rng.choice([-1, 1], v.shape)) for name, v in arrays.items()}
        for arrays in (pair.inputs, pair.cotangents)
    ]
    return pair._replace(inputs=inputs, cotangents=cotangents)
