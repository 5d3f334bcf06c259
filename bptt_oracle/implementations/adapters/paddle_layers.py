"""The nets of paddle.nn: LSTM, GRU and SimpleRNN, on the CPU.

Names, shapes, gate order and the two biases are torch's; only the projection `weight_ho` is
transposed. The tensors of the case take the place of the layer's own parameters, which are leaves.

Page: docs/implementations/frameworks.md
"""

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import paddle

from ..implementation import Implementation, Lengths
from .common import DEVIATIONS

NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _layer(net: Any) -> Any:
    """A layer of paddle.nn with the options of a net, and parameters of its own."""
    options = {
        "num_layers": net.num_layers,
        "direction": "bidirect" if net.bidirectional else "forward",
        "time_major": True,
    }
    if not net.bias:
        options |= {"bias_ih_attr": False, "bias_hh_attr": False}
    if net.mode == "LSTM":
        options["proj_size"] = net.proj_size
        return paddle.nn.LSTM(net.input_size, net.hidden_size, **options)
    if net.mode == "GRU":
        return paddle.nn.GRU(net.input_size, net.hidden_size, **options)
    options["activation"] = net.mode[4:].lower()
    return paddle.nn.SimpleRNN(net.input_size, net.hidden_size, **options)


def _take_parameters(layer: Any, net: Any, params: Mapping[str, Any]) -> None:
    """Replace the parameters of a layer by the tensors of the case.

    The kernel reads `_all_weights`, a list of all weights and then all biases. With a projection
    there is no kernel, and each cell reads its own attributes.
    """
    suffixes = [suffix for k in range(net.num_layers) for suffix in net.suffixes(k)]
    if not net.proj_size:
        layer._all_weights = [
            params[name + suffix]
            for names in (NAMES[:2], NAMES[2:] if net.bias else ())
            for suffix in suffixes
            for name in names
        ]
        return
    cells = [
        cell
        for run in layer
        for cell in ((run.cell_fw, run.cell_bw) if net.bidirectional else (run.cell,))
    ]
    for cell, suffix in zip(cells, suffixes, strict=True):
        values = {name: params[name + suffix] for name in NAMES if name + suffix in params}
        values["weight_ho"] = params["weight_hr" + suffix].T
        for name, value in values.items():
            delattr(cell, name)
            object.__setattr__(cell, name, value)


def net(
    net: Any,
    params: Mapping[str, Any],
    x: Any,
    state: Sequence[Any] | None,
    lengths: Lengths,
) -> tuple[Any, list[Any]]:
    """A whole net."""
    layer = _layer(net)
    _take_parameters(layer, net, params)
    given: dict[str, Any] = {}
    if state is not None:
        given["initial_states"] = tuple(state) if net.mode == "LSTM" else state[0]
    if lengths is not None:
        given["sequence_length"] = paddle.to_tensor(lengths, dtype="int64")
    output, final = layer(x, **given)
    return output, list(final) if net.mode == "LSTM" else [final]


paddle_nets = Implementation(
    "paddle",
    net=net,
    engine="paddle",
    no_biases=False,  # they crash, see `paddle_without_biases`
    projection=True,
    deviations=DEVIATIONS / "paddle_layers.toml",
    version=partial(version, "paddlepaddle"),
)
paddle_without_biases = paddle_nets._replace(
    name="paddle-without-biases", biases=False, no_biases=True
)
