"""Refused arguments: before any computation, one sentence says what came, what was expected, what
to do. What a net is made of is refused in `construction`.

The class of the exception is torch's for the same mistake, alike for arrays and packed sequences.
Attributes alone are read, no values, save those that say how packed rows lie and dropout masks.

Source: torch.nn.RNN, GRU, LSTM and their cells; for parameters Module.load_state_dict, for
cotangents torch.autograd.backward.
Differs: refused, too, is what torch takes for something else; the page lists it.
Page: docs/nets/arguments.md
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..arithmetic import NUMPY, Arithmetic
from ..sequences.packing import PackedSequence, check_consistent
from .layout import Layout, layout_of
from .net import Configuration, Net


def check_forward(
    net: Net,
    params: Any,
    x: Any,
    state: Any,
    dropout_masks: Any,
    arithmetic: Arithmetic = NUMPY,
) -> None:
    """Refuse arguments of `forward` of RNN, GRU and LSTM."""
    dtype = _check_params(net, params, objects=arithmetic is not NUMPY)
    name = type(net).__name__
    rows = x.data if isinstance(x, PackedSequence) else x
    _check_array(f"the input of {name}", rows, AttributeError)
    batch: tuple[int, ...]
    if rows is not x:
        check_consistent(x)
        if rows.ndim != 2:
            raise RuntimeError(f"packed input must have 2 dimensions, got {rows.ndim}.")
        T, batch = len(x.batch_sizes), (int(x.batch_sizes[0]),)
    elif x.ndim == 3:
        T, batch = (x.shape[1], x.shape[:1]) if net.batch_first else (x.shape[0], x.shape[1:2])
    elif x.ndim == 2:
        T, batch = x.shape[0], ()
    else:
        raise ValueError(
            f"{name}: Expected input to be 2D, a sequence, or 3D, a batch of them, got {x.ndim}D."
        )
    if rows.dtype != dtype:
        raise ValueError(
            f"{name} input dtype ({rows.dtype}) does not match weight dtype ({dtype}): convert "
            f"the input or the parameters."
        )
    if rows.shape[-1] != net.input_size:
        raise RuntimeError(
            f"input.size(-1) must be equal to input_size, expected {net.input_size}, got "
            f"{rows.shape[-1]} in shape {rows.shape}: features come last."
        )
    if T == 0:
        raise RuntimeError(
            f"Expected sequence length to be larger than 0, got an input of shape {rows.shape}."
        )
    if state is not None:
        bare = IndexError if isinstance(state, np.ndarray) else TypeError
        parts = _parts(net, "state", state, short=IndexError, bare=bare)
        for label, part, shape in zip(("h_0", "c_0"), parts, _shapes(net, batch), strict=False):
            check_like(label, part, shape, dtype, _STATE, AttributeError)
    if dropout_masks is not None:
        _check_masks(net, dropout_masks, layout_of(x, net.batch_first), dtype)


def check_backward(net: Net, tape: Any, d_output: Any, d_state: Any) -> None:
    """Refuse cotangents that are not like the output and the state they belong to."""
    layout, dtype = tape.layout, tape.layers[0][0].x.dtype
    if d_output is not None:
        check_d_output(net, layout, dtype, d_output)
    if d_state is not None:
        check_d_state(net, layout, dtype, d_state, halves=True)


def check_d_output(net: Net, layout: Layout, dtype: np.dtype, d_output: Any) -> None:
    """Refuse what is not like the output of an input in this layout and dtype."""
    rows = rows_of_layout("d_output", d_output, layout)
    check_like("d_output", rows, layout.shape(_width(net)), dtype, "as of output", TypeError)


def check_d_state(
    net: Net, layout: Layout, dtype: np.dtype, d_state: Any, halves: bool = False
) -> None:
    """Refuse what is not like the state; with `halves`, either of an LSTM's may be None."""
    parts = _parts(net, "d_state", d_state, short=RuntimeError, bare=TypeError)
    shapes = _shapes(net, layout.batch())
    for label, part, shape in zip(("d_h_n", "d_c_n"), parts, shapes, strict=False):
        if part is not None or not halves:
            check_like(label, part, shape, dtype, _STATE, TypeError)


def check_cell_forward(net: Configuration, params: Any, x: Any, state: Any) -> None:
    """Refuse arguments of a cell's `forward`."""
    dtype = _check_params(net, params)
    name = type(net).__name__
    _check_array(f"the input of {name}", x, AttributeError)
    if x.ndim not in (1, 2):
        raise ValueError(f"{name}: Expected input to be 1D or 2D, a batch, got {x.ndim}D.")
    if x.dtype != dtype:
        raise RuntimeError(
            f"{name}: input and parameters must have the same dtype, but got {x.dtype} and "
            f"{dtype}: convert one of them."
        )
    if x.shape[-1] != net.input_size:
        raise RuntimeError(
            f"input has inconsistent input_size: got {x.shape[-1]} in shape {x.shape}, expected "
            f"{net.input_size}."
        )
    if state is not None:
        parts = _parts(net, "state", state, short=RuntimeError, bare=TypeError)
        shape = (*x.shape[:-1], net.hidden_size)
        for label, part in zip(("h", "c"), parts, strict=False):
            _check_array(label, part, AttributeError)
            if part.ndim not in (1, 2):
                raise ValueError(f"{name}: Expected {label} to be 1D or 2D, got {part.ndim}D.")
            check_like(label, part, shape, dtype, _CELL_STATE, AttributeError)


def check_cell_backward(net: Configuration, tape: Any, d_state: Any) -> None:
    """Refuse cotangents that are not like the state they belong to."""
    if d_state is not None:
        parts = _parts(net, "d_state", d_state, short=RuntimeError, bare=TypeError)
        shape = (*tape.outer, net.hidden_size)
        for label, part in zip(("d_h", "d_c"), parts, strict=False):
            if part is not None:
                check_like(label, part, shape, tape.x.dtype, _CELL_STATE, TypeError)


_STATE = "[layers·directions, batch, features], no batch if unbatched, whatever batch_first says"
_CELL_STATE = "[batch, hidden_size], no batch if unbatched"


def _check_params(net: Configuration, params: Any, objects: bool = False) -> np.dtype:
    """Reject any other parameters than the net's, and return their dtype; `objects` allows arrays
    of numbers that NumPy does not know, for which the net was given an arithmetic."""
    if not isinstance(params, Mapping):
        raise TypeError(f"params should be a dict of arrays, got {type(params).__name__}.")
    shapes = net.parameter_shapes()
    if params.keys() != shapes.keys():
        raise RuntimeError(
            f"params should hold the names of parameter_shapes(): missing "
            f"{[name for name in shapes if name not in params]}, unexpected "
            f"{[name for name in params if name not in shapes]}."
        )
    dtype = getattr(params[next(iter(shapes))], "dtype", np.dtype(object))
    for name, shape in shapes.items():
        check_like(name, params[name], shape, dtype, "as of parameter_shapes()", RuntimeError)
    if dtype.kind not in ("fcO" if objects else "fc"):
        raise RuntimeError(
            f"Only floating point and complex parameters have gradients, got dtype {dtype}."
        )
    return dtype


def _shapes(net: Net, batch: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Of h and of c."""
    depth = net.num_layers * net.directions
    return [(depth, *batch, size) for size in net.state_sizes]


def _width(net: Net) -> int:
    """Features of the output, and of what is dropped between layers."""
    return net.directions * net.output_size


def _parts(
    net: Configuration, name: str, state: Any, short: type[Exception], bare: type[Exception]
) -> Sequence[Any]:
    """(h,), or the LSTM's (h, c); `bare` where it is no tuple, `short` where one is missing."""
    if len(net.state_sizes) == 1:
        return (state,)
    if not isinstance(state, (tuple, list)):
        raise bare(f"{name} of an LSTM should be the pair (h, c), got {type(state).__name__}.")
    if len(state) != 2:
        kind = short if len(state) < 2 else RuntimeError
        raise kind(f"lstm expects two hidden states, the pair (h, c), got {len(state)} in {name}.")
    return state


def _check_array(name: str, value: Any, error: type[Exception]) -> None:
    if not isinstance(value, np.ndarray):
        raise error(f"{name} should be an array, got {type(value).__name__}.")


def check_like(
    name: str,
    value: Any,
    shape: tuple[int, ...],
    dtype: np.dtype,
    meaning: str,
    error: type[Exception],
) -> None:
    """Refuse what is no array, with `error`, and an array of another shape or dtype."""
    _check_array(name, value, error)
    if value.shape != shape:
        raise RuntimeError(f"Expected {name} of size {shape}, {meaning}, got {value.shape}.")
    if value.dtype != dtype:
        raise RuntimeError(
            f"{name} must have the same dtype as the parameters, {dtype}, but got {value.dtype}: "
            f"convert it."
        )


def rows_of_layout(name: str, value: Any, layout: Layout) -> Any:
    """What `layout.to_rows` would read; refused where it is packed otherwise than the input."""
    if layout.packed is None:
        return value
    if not isinstance(value, PackedSequence):
        raise TypeError(
            f"{name} should be a PackedSequence as the input is, got {type(value).__name__}: "
            f"use x._replace(data={name})."
        )
    orders: Any = zip(layout.packed[1:3], value[1:3], strict=True)
    for mine, given in orders:
        if mine is not given and not np.array_equal(mine, given):
            raise RuntimeError(f"{name} should be packed as the input is, {mine}, got {given}.")
    return value.data


def _check_masks(net: Net, masks: Any, layout: Layout, dtype: np.dtype) -> None:
    if len(masks) != net.num_layers - 1:
        raise ValueError(
            f"expected {net.num_layers - 1} dropout masks, one for each layer but the last, got "
            f"{len(masks)}."
        )
    for k, given in enumerate(masks):
        name, mask = f"dropout_masks[{k}]", rows_of_layout(f"dropout_masks[{k}]", given, layout)
        check_dropout_mask(name, mask, layout.shape(_width(net)), dtype)


def check_dropout_mask(name: str, mask: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuse a mask that is not of the shape of what it drops, widens it, or is not of 0 and 1."""
    _check_array(name, mask, TypeError)
    if mask.shape != shape:
        raise RuntimeError(f"Expected {name} of size {shape}, as what it drops, got {mask.shape}.")
    if not np.can_cast(mask.dtype, dtype):
        raise RuntimeError(
            f"{name} should be bool or {dtype}, got {mask.dtype}, which would widen the result."
        )
    if ((mask != 0) & (mask != 1)).any():
        raise ValueError(
            f"{name} should hold ones where a value is kept and zeros elsewhere: the scale "
            f"1 / (1 − p) is applied here."
        )
