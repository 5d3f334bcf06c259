"""The recurrent layers of Keras 3 on its backend: KERAS_BACKEND is tensorflow, torch or jax.

`reset_after=True` is torch's GRU, False is that of the papers. Lengths become a mask, and two
directions the layer `Bidirectional`. Gate orders: `bptt_oracle/porting/conventions.py`.

    keras         a loop of the backend
    keras_unroll  unroll=True

Page: docs/implementations/frameworks.md
"""

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import keras
import numpy as np
from keras import ops

from reference.cells.table import CELL_TABLE

from ...porting.conventions import ROWS, convention_of
from ..implementation import Implementation, Lengths
from .common import DEVIATIONS, with_moderate_gates

BACKEND: str = keras.backend.backend()


def _weights(mode: str, p: Mapping[str, Any]) -> list[Any]:
    """Kernel [I, G·H], recurrent kernel [H, G·H], and the bias or biases if there are any."""
    convention = convention_of("keras", mode)

    def packed(value: Any) -> Any:
        gates = CELL_TABLE[mode].gates
        blocks = dict(zip(gates, ops.split(value, len(gates)), strict=True))
        if convention.flips_z:
            blocks["z"] = -blocks["z"]
        return ops.concatenate([blocks[gate] for gate in convention.gates])

    kernels = [ops.transpose(packed(p[name])) for name in ("weight_ih", "weight_hh")]
    if "bias_ih" not in p:
        return kernels
    b_ih, b_hh = packed(p["bias_ih"]), packed(p["bias_hh"])
    return [*kernels, ops.stack([b_ih, b_hh]) if convention.biases == ROWS else b_ih + b_hh]


def _layer(net: Any, **options: Any) -> Any:
    """A layer of the cell of a net, in one direction."""
    options |= {"use_bias": net.bias, "return_sequences": True, "return_state": True}
    if net.mode == "LSTM":
        return keras.layers.LSTM(net.hidden_size, **options)
    if net.mode.startswith("GRU"):
        return keras.layers.GRU(net.hidden_size, reset_after=net.mode == "GRU", **options)
    return keras.layers.SimpleRNN(net.hidden_size, activation=net.mode[4:].lower(), **options)


def net(
    net: Any,
    params: Mapping[str, Any],
    x: Any,
    state: Sequence[Any] | None,
    lengths: Lengths,
    unroll: bool = False,
) -> tuple[Any, list[Any]]:
    """A stack of layers."""
    dtype = keras.backend.standardize_dtype(x.dtype)
    D, n_states = net.directions, 2 if net.mode == "LSTM" else 1
    y, final = ops.swapaxes(x, 0, 1), []
    given = {}
    if lengths is not None:
        mask = np.arange(len(x)) < np.array(lengths)[:, None]
        given["mask"] = ops.convert_to_tensor(mask)
    for k in range(net.num_layers):
        layer, weights = _layer(net, unroll=unroll, dtype=dtype), []
        for suffix in net.suffixes(k):
            p = {n.removesuffix(suffix): v for n, v in params.items() if n.endswith(suffix)}
            weights += _weights(net.mode, p)
        if net.bidirectional:
            layer = keras.layers.Bidirectional(layer, dtype=dtype)
        if state is not None:
            given["initial_state"] = [s[k * D + d] for d in range(D) for s in state]
        layer.build(tuple(y.shape))
        (y, *last), _ = layer.stateless_call(weights, layer.non_trainable_variables, y, **given)
        final += [last[d * n_states : (d + 1) * n_states] for d in range(D)]
    return ops.swapaxes(y, 0, 1), [ops.stack(list(states)) for states in zip(*final, strict=True)]


_implementation: Any = partial(
    Implementation,
    engine=BACKEND,
    cells=("RNN_TANH", "RNN_RELU", "GRU", "LSTM", "GRU_TEXTBOOK"),
    fit=with_moderate_gates,
    deviations=DEVIATIONS / f"keras_{BACKEND}.toml",
    version=partial(version, "keras"),
)
keras_layers = _implementation(f"keras-{BACKEND}", net=net)
keras_unrolled = _implementation(f"keras-{BACKEND}-unrolled", net=partial(net, unroll=True))
