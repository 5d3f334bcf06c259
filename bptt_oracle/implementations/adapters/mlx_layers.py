"""The recurrent layers of mlx.nn, on the CPU, which alone has float64.

They have torch's gate order and one bias, the GRU b_hn besides, batch before time, and neither
lengths nor directions: time is reversed around them.

Page: docs/implementations/frameworks.md
"""

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..implementation import Implementation, Lengths
from .common import DEVIATIONS


def layer(
    mode: str,
    p: Mapping[str, Any],
    x: Any,
    state: Sequence[Any] | None,
    lengths: Lengths,
    reverse: bool,
) -> tuple[Any, list[Any]]:
    """A layer of mlx.nn: LSTM, GRU or RNN."""
    bias, width = "bias_ih" in p, 2 * p["weight_hh"].shape[1]  # of r and z
    sizes = p["weight_ih"].shape[1], p["weight_hh"].shape[1]
    if mode == "LSTM":
        net: Any = nn.LSTM(*sizes, bias=bias)
    elif mode == "GRU":
        net = nn.GRU(*sizes, bias=bias)
    else:
        net = nn.RNN(*sizes, bias=bias, nonlinearity=mx.tanh if mode == "RNN_TANH" else nn.relu)
    if mode in ("GRU", "LSTM"):
        net.Wx, net.Wh = p["weight_ih"], p["weight_hh"]
    else:
        net.Wxh, net.Whh = p["weight_ih"], p["weight_hh"]
    if bias:
        total = p["bias_ih"] + p["bias_hh"]
        if mode == "GRU":
            net.b = mx.concatenate([total[:width], p["bias_ih"][width:]])
            net.bhn = p["bias_hh"][width:]
        else:
            net.bias = total
    x = mx.swapaxes(x[::-1] if reverse else x, 0, 1)
    states = net(x, *(state or ()))
    states = states if mode == "LSTM" else [states]
    y = mx.swapaxes(states[0], 0, 1)
    return y[::-1] if reverse else y, [s[:, -1] for s in states]


mlx = Implementation(
    "mlx",
    layer=layer,
    engine="mlx",
    lengths=False,
    deviations=DEVIATIONS / "mlx_layers.toml",
    version=partial(version, "mlx"),
)
