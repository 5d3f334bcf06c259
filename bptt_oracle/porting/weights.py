"""Weights of another framework in torch's names, shapes and gate order, and back. NumPy only.

Two biases become one, and one becomes two
    b = b_ih + b_hh, rounded once; back: bias_ih = b, bias_hh = 0
    In the GRU r multiplies b_hn: it stays apart, or must be 0 where a framework has no b_hn.

So `from_torch_names(to_torch_names(w, …), …)` is w bit by bit. The other way round is the same
function of the input, and bit by bit the same parameters where a framework stores two biases.

Page: docs/porting/porting.md
"""

from typing import Any

import numpy as np

from . import cells
from .containers import Layers, pack, unpack
from .conventions import convention_of


def to_torch_names(weights: Any, *, framework: str, cell: str) -> dict[str, np.ndarray]:
    """The parameters of the same net under torch's names, as `torch.nn` and `reference` take them.

    Args:
        weights: of one layer, or a list with those of each layer, as the framework holds them.
            keras: layer.get_weights(), [kernel, recurrent_kernel, bias], twice in a Bidirectional.
            onnx: {"W": [D, G·H, I], "R": [D, G·H, H], "B": [D, 2·G·H], "P": [D, 3·H]} of a node; B
            and P if there.
            flax.nnx: nnx.to_pure_dict(nnx.state(cell, nnx.Param)); (forward, backward) for two
            directions.
            equinox: {"weight_ih": …, "weight_hh": …, "bias": …, "bias_n": …} of a cell; a pair for
            two directions.
            paddle, torch: state_dict() of a whole net, with NumPy arrays.
        framework: a key of `conventions.FRAMEWORKS`.
        cell: a name of the cell table. GRU is the GRU whose r multiplies the product, as in torch:
            reset_after=True of Keras, linear_before_reset=1 of ONNX. GRU_TEXTBOOK is the other, for
            `reference`; LSTM_PEEPHOLE is ONNX's LSTM with P.

    Returns:
        weight_ih_l0, weight_hh_l0, bias_ih_l0 … and the same with _reverse: new arrays, whose dtype
        is that of the weights.

    Raises:
        ValueError: there is no such framework or cell, or the weights are not of that form.
    """
    convention_of(framework, cell)
    layers = [
        [cells.read(arrays, framework, cell) for arrays in layer]
        for layer in unpack(weights, framework, cell)
    ]
    _check_widths(layers)
    return dict(pack(layers, "torch", cell))


def from_torch_names(params: Any, *, framework: str, cell: str) -> Any:
    """The weights of a framework, from parameters under torch's names.

    Args:
        params: {"weight_ih_l0": [G·H, I], …}, all of one net, NumPy arrays.
        framework, cell: as for `to_torch_names`.

    Returns:
        What `to_torch_names` takes: one item for each layer in a list (keras, onnx, flax.nnx,
        equinox), or one mapping for the net (paddle, torch). New arrays.

    Raises:
        ValueError: there is no such framework or cell, a parameter is missing, unknown or of
            another shape, or the framework cannot store it: a projection, or b_hn ≠ 0 in flax.nnx.
    """
    convention_of(framework, cell)
    layers = [
        [cells.read(arrays, "torch", cell) for arrays in layer]
        for layer in unpack(params, "torch", cell)
    ]
    _check_widths(layers)
    written = [[cells.write(arrays, framework, cell) for arrays in layer] for layer in layers]
    return pack(written, framework, cell)


def _check_widths(layers: Layers) -> None:
    """Raise ValueError unless the layers fit together as one net of torch."""
    first = layers[0][0]
    hidden, outputs = first["weight_hh"].shape
    width = first["weight_ih"].shape[1]
    for k, layer in enumerate(layers):
        for d, arrays in enumerate(layer):
            where = f"layer {k}{', reverse' * d}"
            if arrays["weight_hh"].shape != (hidden, outputs):
                raise ValueError(
                    f"Expected layers and directions of one width, because torch's have one, got "
                    f"{outputs} and, in {where}, {arrays['weight_hh'].shape[1]}."
                )
            if arrays["weight_ih"].shape[1] != width:
                raise ValueError(
                    f"Expected {width} inputs in {where}, got {arrays['weight_ih'].shape[1]}."
                )
            if arrays.keys() != first.keys():
                raise ValueError(
                    f"Expected {', '.join(first)} in {where}, got {', '.join(arrays)}."
                )
        width = len(layer) * outputs
