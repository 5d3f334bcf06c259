"""A torch module or function called on the caller's own tensors, and differentiated.

torch is imported only if a tensor or a module came.
"""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from torch_impl.execution.problem import Problem

from ..implementations.loading import cells_of_class
from .values import NAMES, known_dtype, named_values


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor of torch; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def as_array(value: Any) -> Any:
    """The value if it is a tensor or an array, and an array of anything else. Raises ValueError for
    what makes no array, and for a tensor whose numbers cannot be read: a sparse one, or on meta."""
    if is_tensor(value):
        if value.is_meta or str(value.layout) != "torch.strided":
            raise ValueError(
                f"a tensor of {value.layout} on {value.device} came; expected a dense one with "
                "numbers"
            )
        return value
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"a {type(value).__name__} that makes no array came; expected an array or a tensor"
        ) from None


def arrays_of(values: Mapping[Any, Any]) -> tuple[dict[Any, np.ndarray], str]:
    """The values in float64, exactly, and their common dtype. Raises ValueError if there is more
    than one, or one that cannot be judged."""
    arrays = {name: as_array(value) for name, value in values.items()}
    dtypes = {str(array.dtype).removeprefix("torch.") for array in arrays.values()}
    if len(dtypes) != 1:
        raise ValueError(f"the dtypes are {', '.join(sorted(dtypes))}; expected one")
    dtype = known_dtype(dtypes.pop())
    return {name: _exact(array) for name, array in arrays.items()}, dtype


def _exact(array: Any) -> np.ndarray:
    """A tensor or an array in float64."""
    if is_tensor(array):
        array = array.detach().double().cpu().numpy()
    exact: np.ndarray = array.astype(np.float64)
    return exact


def parameters_of(
    module: Any, cell: str | None, batch_first: bool | None
) -> tuple[dict[str, Any], str | None, bool | None]:
    """The parameters of a module by name, its cell and its batch_first, where they can be read.
    Raises ValueError for dropout in training mode, whose masks are not known, and for weights that
    the module computes."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(module, torch.nn.Module):
        return {}, cell, batch_first
    if getattr(module, "dropout", 0.0) and module.training:
        raise ValueError(
            f"{type(module).__name__} is in training mode and has dropout; call eval() first"
        )
    params = dict(module.named_parameters(remove_duplicate=False))
    if computed := [n for n in getattr(module, "_flat_weights_names", ()) if n not in params]:
        raise ValueError(
            f"{computed[0]} of {type(module).__name__} is computed from other parameters, as by "
            "weight norm; judge it inside your model with `bptt-oracle record --model`"
        )
    if cell is None:
        cell = _cell_of(module)
    if batch_first is None:
        batch_first = bool(getattr(module, "batch_first", False))
    return params, cell, batch_first


def _cell_of(module: Any) -> str | None:
    """The cell of a module by its attribute `mode`, or by the name of its class; None if neither
    says it."""
    mode = getattr(module, "mode", None)
    if isinstance(mode, str):
        return mode
    cells = cells_of_class(type(module))
    return cells[0] if len(cells) == 1 else None


def call_on_tensors(
    function: Any,
    problem: Problem,
    params: Mapping[str, Any],
    x: Any,
    state: tuple[Any, ...] | None,
) -> dict[str, np.ndarray]:
    """Values and gradients, by name, of a module or function on copies of x and of the state. The
    cotangents are those of the problem, of what is returned."""
    import torch

    from torch_impl.execution.dtypes import array_of

    like = next(value for value in (*params.values(), x) if is_tensor(value))

    def leaf(value: Any) -> torch.Tensor:
        copy: torch.Tensor = torch.as_tensor(value).to(like.device, like.dtype, copy=True)
        return copy.detach().requires_grad_()

    leaves = {"x": leaf(x), **dict(zip(("h_0", "c_0"), map(leaf, state or ()), strict=False))}
    leaves |= {n: p for n, p in params.items() if is_tensor(p) and p.requires_grad}
    own_state = [leaves[name] for name in ("h_0", "c_0") if name in leaves]
    with torch.enable_grad():
        values = _values(function, problem, leaves["x"], own_state)
    cotangents = zip(NAMES, (problem.d_output, *problem.d_state), strict=False)
    pairs = [
        (values[n], torch.as_tensor(d).to(values[n]))
        for n, d in cotangents
        if n in values and d is not None and values[n].requires_grad
    ]
    results = {name: array_of(value) for name, value in values.items()}
    if not pairs:
        return results
    outputs, d_outputs = zip(*pairs, strict=True)
    grads = torch.autograd.grad(
        outputs, [*leaves.values()], d_outputs, allow_unused=True, materialize_grads=True
    )
    return results | {f"d_{n}": array_of(g) for n, g in zip(leaves, grads, strict=True)}


def _values(function: Any, problem: Problem, x: Any, state: list[Any]) -> dict[str, Any]:
    """What a module or function returns, by name, the output padded."""
    import torch
    from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

    batch_first = problem.net.batch_first
    if problem.lengths is not None:
        lengths = torch.tensor(problem.lengths)
        x = pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
    returned = function(x, *([tuple(state) if len(state) == 2 else state[0]] if state else []))
    if isinstance(returned, PackedSequence):
        returned = (returned, ())
    parts = returned if isinstance(returned, (tuple, list)) else ()
    if parts and isinstance(parts[0], PackedSequence):
        returned = (pad_packed_sequence(returned[0], batch_first)[0], *returned[1:])
    values = named_values(problem, returned)
    cotangents = (problem.d_output, *problem.d_state)
    shapes = {n: None if d is None else d.shape for n, d in zip(NAMES, cotangents, strict=False)}
    for name, value in values.items():
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{name} is a {type(value).__name__}, expected a tensor")
        as_array(value)  # it can be read
        expected = shapes[name]
        if expected is not None and expected != tuple(value.shape):
            raise ValueError(
                f"{name} has shape {list(value.shape)}, expected {list(expected)} for x of shape "
                f"{list(problem.x.shape)}"
            )
    return values
