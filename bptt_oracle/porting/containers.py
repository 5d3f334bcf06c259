"""How frameworks hold the weights of a whole net: read into one mapping for each layer and
direction, and written back.

    arrays         a list of arrays for each layer, the reverse direction after the other: Keras
    node           a mapping for each layer, whose arrays begin with an axis of directions: ONNX
    cells          a cell for each layer and direction, as a nested mapping: flax.nnx, Equinox
    net            one mapping whose names end in _l0, _l0_reverse, _l1 …: torch
    net of cells   one mapping whose names begin with 0.cell., or 0.cell_fw. and 0.cell_bw.: Paddle

Page: docs/porting/porting.md
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .conventions import FRAMEWORKS

Cell = dict[str, np.ndarray]  # the framework's name → array
Layers = list[list[Cell]]  # [layer][direction]

TORCH_NAME = re.compile(
    r"(weight_ih|weight_hh|weight_hr|weight_ch|bias_ih|bias_hh)_l(\d+)(_reverse)?"
)
PADDLE_NAME = re.compile(r"(\d+)\.(cell|cell_fw|cell_bw)\.(\w+)")
PADDLE_ALIAS = re.compile(r"\w+_l\d+(_reverse)?")


class Form(NamedTuple):
    """Reading and writing one of the forms; `names` are the framework's, in its order."""

    read: Callable[[Any, Sequence[str]], Layers]
    write: Callable[[Layers, Sequence[str]], Any]


def unpack(weights: Any, framework: str, cell: str) -> Layers:
    """The arrays of each layer and direction by the framework's names.

    Raises ValueError if `weights` does not have the framework's form.
    """
    title, holds, cells, _ = FRAMEWORKS[framework]
    if holds not in FORMS:
        raise ValueError(f"{title} holds weights as {holds!r}; expected one of {', '.join(FORMS)}.")
    layers = FORMS[holds].read(weights, list(cells[cell].names.values()))
    if not layers or len({len(layer) for layer in layers}) != 1:
        raise ValueError(
            f"Expected the weights of one or more layers of {title} with the same number of "
            f"directions, got layers with {[len(layer) for layer in layers]} directions."
        )
    return layers


def pack(layers: Layers, framework: str, cell: str) -> Any:
    """The inverse of `unpack`."""
    _, holds, cells, _ = FRAMEWORKS[framework]
    return FORMS[holds].write(layers, list(cells[cell].names.values()))


def _mapping(weights: Any, example: str) -> Mapping[str, Any]:
    """`weights` if it is a mapping. Raises ValueError otherwise."""
    if not isinstance(weights, Mapping):
        raise ValueError(f"Expected a mapping from names such as {example}, got {_kind(weights)}.")
    return weights


def _kind(value: object) -> str:
    """What a value is, for a message."""
    return f"{type(value).__name__}"


def _array(value: Any) -> np.ndarray:
    """A NumPy array of real numbers. Raises ValueError for anything else."""
    array = np.asarray(value)
    if array.dtype.kind not in "fV":  # V: bfloat16
        raise ValueError(f"Expected weights of a floating dtype, got {array.dtype}.")
    return array


def _read_arrays(weights: Any, names: Sequence[str]) -> Layers:
    """Of one layer or of a list of layers: kernel, recurrent kernel, bias if any, twice in a layer
    with two directions."""
    if isinstance(weights, Mapping) or not isinstance(weights, Sequence):
        raise ValueError(
            f"Expected a list of arrays as get_weights() returns it, or a list of such lists, "
            f"got {_kind(weights)}."
        )
    one_layer = not all(isinstance(layer, list | tuple) for layer in weights)
    layers = []
    for arrays in [weights] if one_layer else weights:
        if len(arrays) not in (2, 3, 4, 6):
            raise ValueError(
                f"Expected 2 or 3 arrays in a layer ({', '.join(names)}), twice as many in a "
                f"Bidirectional, got {len(arrays)}."
            )
        count = len(arrays) if len(arrays) < 4 else len(arrays) // 2
        parts = [arrays[k : k + count] for k in range(0, len(arrays), count)]
        layers.append(
            [dict(zip(names, map(_array, part), strict=False)) for part in parts]
        )  # without biases the last name has no array
    return layers


def _write_arrays(layers: Layers, names: Sequence[str]) -> list[list[np.ndarray]]:
    return [[cell[name] for cell in layer for name in names if name in cell] for layer in layers]


def _read_node(weights: Any, names: Sequence[str]) -> Layers:
    """Of one node or of a list of nodes, in the order of the layers."""
    layers = []
    for node in weights if isinstance(weights, list | tuple) else [weights]:
        arrays = {
            name: _array(value)
            for name, value in _mapping(node, ", ".join(names)).items()
            if value is not None
        }
        sizes = {len(value) if value.ndim else 0 for value in arrays.values()}
        if len(sizes) != 1 or not sizes <= {1, 2}:
            raise ValueError(
                f"Expected arrays whose first axis is 1 or 2, the number of directions, got "
                f"{', '.join(f'{name} {list(value.shape)}' for name, value in arrays.items())}."
            )
        layers.append([{n: v[d] for n, v in arrays.items()} for d in range(sizes.pop())])
    return layers


def _write_node(layers: Layers, names: Sequence[str]) -> list[Cell]:
    return [
        {name: np.stack([cell[name] for cell in layer]) for name in names if name in layer[0]}
        for layer in layers
    ]


def _read_cells(weights: Any, names: Sequence[str]) -> Layers:
    """Of one cell, or of a list of layers; a layer is a cell or a pair (forward, backward)."""
    layers = weights if isinstance(weights, list) else [weights]
    pairs = [layer if isinstance(layer, list | tuple) else (layer,) for layer in layers]
    return [[_flat(_mapping(cell, ", ".join(names))) for cell in pair] for pair in pairs]


def _write_cells(layers: Layers, names: Sequence[str]) -> list[Any]:
    nested = [tuple(_nested(cell) for cell in layer) for layer in layers]
    return [layer if len(layer) == 2 else layer[0] for layer in nested]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Cell:
    """The arrays of a nested mapping, by names joined with dots; None stands for no array."""
    found: Cell = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        elif value is not None:
            found[f"{prefix}{name}"] = _array(value)
    return found


def _nested(cell: Cell) -> dict[str, Any]:
    """The inverse of `_flat`."""
    tree: dict[str, Any] = {}
    for name, value in cell.items():
        *groups, last = name.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[last] = value
    return tree


def _read_net(weights: Any, names: Sequence[str]) -> Layers:
    """Of a net of torch, a state_dict or `reference`'s params."""
    found: dict[tuple[int, int], Cell] = {}
    for name, value in _mapping(weights, "weight_ih_l0").items():
        match = TORCH_NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"Expected names of torch.nn such as weight_ih_l0, got {name!r}.")
        short, layer, reverse = match.groups()
        found.setdefault((int(layer), int(bool(reverse))), {})[short] = _array(value)
    return _by_layer(found)


def _write_net(layers: Layers, names: Sequence[str]) -> Cell:
    return {
        f"{name}_l{k}{'_reverse' * d}": cell[name]
        for k, layer in enumerate(layers)
        for d, cell in enumerate(layer)
        for name in names
        if name in cell
    }


def _read_net_of_cells(weights: Any, names: Sequence[str]) -> Layers:
    """Of a state_dict of Paddle, by the names of its cells.

    It has names such as weight_ih_l0 too. They are passed over, because with a projection they
    stand for other arrays.
    """
    found: dict[tuple[int, int], Cell] = {}
    for name, value in _mapping(weights, "0.cell.weight_ih").items():
        match = PADDLE_NAME.fullmatch(name)
        if match is not None:
            layer, cell, short = match.groups()
            found.setdefault((int(layer), int(cell == "cell_bw")), {})[short] = _array(value)
        elif not PADDLE_ALIAS.fullmatch(name):
            raise ValueError(f"Expected names of Paddle such as 0.cell.weight_ih, got {name!r}.")
    if not found:
        raise ValueError(
            "Expected the names of the cells, such as 0.cell.weight_ih, as state_dict() has them, "
            "because Paddle's other names stand for other arrays in a net with a projection."
        )
    return _by_layer(found)


def _write_net_of_cells(layers: Layers, names: Sequence[str]) -> Cell:
    cells = ("cell",) if len(layers[0]) == 1 else ("cell_fw", "cell_bw")
    return {
        f"{k}.{cells[d]}.{name}": cell[name]
        for k, layer in enumerate(layers)
        for d, cell in enumerate(layer)
        for name in names
        if name in cell
    }


def _by_layer(found: Mapping[tuple[int, int], Cell]) -> Layers:
    """[layer][direction]. Raises ValueError if a layer or a direction is missing."""
    layers = 1 + max((k for k, _ in found), default=-1)
    directions = 1 + max((d for _, d in found), default=0)
    wanted = [[(k, d) for d in range(directions)] for k in range(layers)]
    missing = [place for row in wanted for place in row if place not in found]
    if not found or missing:
        k, d = missing[0] if missing else (0, 0)
        direction = "reverse " if d else ""
        raise ValueError(f"Expected weights of the {direction}direction of layer {k}, got none.")
    return [[found[place] for place in row] for row in wanted]


FORMS = {
    "arrays": Form(_read_arrays, _write_arrays),
    "node": Form(_read_node, _write_node),
    "cells": Form(_read_cells, _write_cells),
    "net": Form(_read_net, _write_net),
    "net of cells": Form(_read_net_of_cells, _write_net_of_cells),
}
