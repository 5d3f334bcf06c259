"""Reject invalid arguments of forward and backward before anything is computed.

The message states what came, what was expected and what to do. The exception has torch's class for
the same mistake; arrays and packed sequences raise the same. Only attributes are read, and the
values of batch sizes, indices and dropout masks. Constructor arguments: see `construction`.

Source: torch.nn.RNN, GRU, LSTM and their cells; for parameters Module.load_state_dict, for
cotangents torch.autograd.backward.
Differs: some arguments that torch accepts with another meaning are rejected; the page lists them.
Page: docs/nets/arguments.md
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..arithmetic import NUMPY, Arithmetic
from ..arrays import check_array
from ..sequences.packing import PackedSequence, check_consistent
from .layout import Layout, layout_of
from .net import Configuration, Net


def check_forward(
    net: Net,
    params: object,
    x: object,
    state: object,
    dropout_masks: Sequence[object] | None,
    arithmetic: Arithmetic = NUMPY,
) -> None:
    """Reject invalid arguments of `forward` of a net."""
    dtype = _check_params(net, params, objects=arithmetic is not NUMPY)
    name = type(net).__name__
    data = x.data if isinstance(x, PackedSequence) else x
    rows = _check_array(f"the input of {name}", data, AttributeError)
    batch: tuple[int, ...]
    if isinstance(x, PackedSequence):
        check_consistent(x)
        if rows.ndim != 2:
            raise RuntimeError(f"packed input must have 2 dimensions, got {rows.ndim}.")
        T, batch = len(x.batch_sizes), (int(x.batch_sizes[0]),)
    elif rows.ndim == 3:
        T, B = rows.shape[1::-1] if net.batch_first else rows.shape[:2]
        batch = (B,)
    elif rows.ndim == 2:
        T, batch = rows.shape[0], ()
    else:
        raise ValueError(
            f"{name}: Expected input to be 2D, a sequence, or 3D, a batch of sequences, got "
            f"{rows.ndim}D."
        )
    # Differs: for a packed input of an LSTM torch raises RuntimeError, in the product.
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
        # Differs: for h_0 without c_0 and several layers torch raises RuntimeError.
        not_pair = IndexError if isinstance(state, np.ndarray) else TypeError
        parts = _parts(net, "state", state, too_short=IndexError, not_pair=not_pair)
        # Differs: torch computes with c_0 in another dtype, drops states of unsorted packs that are
        # more than the sequences, and raises IndexError for a 2-D state of a packed input.
        for label, part, shape in zip(("h_0", "c_0"), parts, _shapes(net, batch), strict=False):
            check_like(label, part, shape, dtype, _STATE, AttributeError)
    if dropout_masks is not None:
        layout = layout_of(x if isinstance(x, PackedSequence) else rows, net.batch_first)
        _check_masks(net, dropout_masks, layout, dtype)


def check_backward(
    net: Net, layout: Layout, dtype: np.dtype, d_output: object, d_state: object
) -> None:
    """Reject cotangents that do not have the type, shape and dtype of the output and the state."""
    if d_output is not None:
        check_d_output(net, layout, dtype, d_output)
    if d_state is not None:
        check_d_state(net, layout, dtype, d_state, halves=True)


def check_d_output(net: Net, layout: Layout, dtype: np.dtype, d_output: object) -> None:
    """Reject a d_output that is not in this layout and dtype, with the features of the output."""
    rows = rows_of_layout("d_output", d_output, layout)
    check_like("d_output", rows, layout.shape(_width(net)), dtype, "as of output", TypeError)


def check_d_state(
    net: Net, layout: Layout, dtype: np.dtype, d_state: object, halves: bool = False
) -> None:
    """Reject a d_state unlike the state; with `halves`, either half of a pair may be None."""
    parts = _parts(net, "d_state", d_state, too_short=RuntimeError, not_pair=TypeError)
    shapes = _shapes(net, layout.batch())
    for label, part, shape in zip(("d_h_n", "d_c_n"), parts, shapes, strict=False):
        if part is not None or not halves:
            check_like(label, part, shape, dtype, _STATE, TypeError)


def check_cell_forward(net: Configuration, params: object, x: object, state: object) -> None:
    """Reject invalid arguments of `forward` of a single-step cell."""
    dtype = _check_params(net, params)
    name = type(net).__name__
    x = _check_array(f"the input of {name}", x, AttributeError)
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
        parts = _parts(net, "state", state, too_short=RuntimeError, not_pair=TypeError)
        shape = (*x.shape[:-1], net.hidden_size)
        for label, part in zip(("h", "c"), parts, strict=False):
            array = _check_array(label, part, AttributeError)
            if array.ndim not in (1, 2):
                raise ValueError(f"{name}: Expected {label} to be 1D or 2D, got {array.ndim}D.")
            check_like(label, part, shape, dtype, _CELL_STATE, AttributeError)


def check_cell_backward(
    net: Configuration, batch: tuple[int, ...], dtype: np.dtype, d_state: object
) -> None:
    """Reject cotangents that do not have the type, shape and dtype of the state."""
    if d_state is not None:
        parts = _parts(net, "d_state", d_state, too_short=RuntimeError, not_pair=TypeError)
        shape = (*batch, net.hidden_size)
        for label, part in zip(("d_h", "d_c"), parts, strict=False):
            if part is not None:
                check_like(label, part, shape, dtype, _CELL_STATE, TypeError)


_STATE = "[layers·directions, batch, features], no batch if unbatched, with or without batch_first"
_CELL_STATE = "[batch, hidden_size], no batch if unbatched"


def _check_params(net: Configuration, params: object, objects: bool = False) -> np.dtype:
    """Reject parameters other than those of the net, and return their dtype.

    `objects` allows arrays of Python numbers, which need an `Arithmetic` of their own.
    """
    if not isinstance(params, Mapping):
        raise TypeError(f"params should be a dict of arrays, got {type(params).__name__}.")
    shapes = net.parameter_shapes()
    # Differs: torch does not check weights in forward; a float32 LSTM on CPU reads other memory.
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
    """The shapes of h and of c."""
    depth = net.num_layers * net.directions
    return [(depth, *batch, size) for size in net.state_sizes]


def _width(net: Net) -> int:
    """Features of the output of each layer."""
    return net.directions * net.output_size


def _parts(
    net: Configuration,
    name: str,
    state: object,
    too_short: type[Exception],
    not_pair: type[Exception],
) -> Sequence[object]:
    """(h,), or (h, c) for a cell with a cell state.

    Raises `not_pair` if the latter is not a tuple or list, `too_short` if it has fewer than two.
    """
    if len(net.state_sizes) == 1:
        return (state,)
    if not isinstance(state, (tuple, list)):
        raise not_pair(f"{name} of an LSTM should be the pair (h, c), got {type(state).__name__}.")
    if len(state) != 2:
        kind = too_short if len(state) < 2 else RuntimeError
        raise kind(f"lstm expects two hidden states, the pair (h, c), got {len(state)} in {name}.")
    return state


def _check_array(name: str, value: object, error: type[Exception]) -> np.ndarray:
    """The value, if it is an array; raises `error` otherwise."""
    return check_array(name, value, error)


def check_like(
    name: str,
    value: object,
    shape: tuple[int, ...],
    dtype: np.dtype,
    meaning: str,
    error: type[Exception],
) -> None:
    """Raise `error` for a value that is not an array, RuntimeError for another shape or dtype."""
    array = _check_array(name, value, error)
    if array.shape != shape:
        raise RuntimeError(f"Expected {name} of size {shape}, {meaning}, got {array.shape}.")
    # Differs: torch converts a cotangent of another dtype.
    if array.dtype != dtype:
        raise RuntimeError(
            f"{name} must have the same dtype as the parameters, {dtype}, but got {array.dtype}: "
            f"convert it."
        )


def rows_of_layout(name: str, value: object, layout: Layout) -> object:
    """The value, or the data of one that is packed like the input.

    For a packed input, raises TypeError for a value that is not packed, and RuntimeError for one
    with other batch sizes or indices.
    """
    if layout.packed is None:
        return value
    if not isinstance(value, PackedSequence):
        raise TypeError(
            f"{name} should be a PackedSequence as the input is, got {type(value).__name__}: "
            f"use x._replace(data={name})."
        )
    pairs: list[tuple[Any, Any]] = [
        (layout.packed.batch_sizes, value.batch_sizes),
        (layout.packed.sorted_indices, value.sorted_indices),
    ]
    for expected, actual in pairs:
        if expected is not actual and not np.array_equal(expected, actual):
            raise RuntimeError(
                f"{name} should be packed as the input is, {expected}, got {actual}."
            )
    return value.data


def _check_masks(net: Net, masks: Sequence[object], layout: Layout, dtype: np.dtype) -> None:
    if len(masks) != net.num_layers - 1:
        raise ValueError(
            f"expected {net.num_layers - 1} dropout masks, one for each layer but the last, got "
            f"{len(masks)}."
        )
    for k, mask in enumerate(masks):
        name = f"dropout_masks[{k}]"
        rows = rows_of_layout(name, mask, layout)
        check_dropout_mask(name, rows, layout.shape(_width(net)), dtype)


def check_dropout_mask(name: str, mask: object, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Reject a mask unlike the values that it multiplies.

    Raises TypeError if it is not an array; RuntimeError for another shape, or a dtype that would
    widen the result; ValueError for values other than 0 and 1.
    """
    mask = _check_array(name, mask, TypeError)
    if mask.shape != shape:
        raise RuntimeError(
            f"Expected {name} of size {shape}, as the values it multiplies, got {mask.shape}."
        )
    if not np.can_cast(mask.dtype, dtype):
        raise RuntimeError(
            f"{name} should be bool or {dtype}, got {mask.dtype}, which would widen the result."
        )
    if ((mask != 0) & (mask != 1)).any():
        raise ValueError(
            f"{name} should hold ones where a value is kept and zeros elsewhere: the scale "
            f"1 / (1 − p) is applied here."
        )
