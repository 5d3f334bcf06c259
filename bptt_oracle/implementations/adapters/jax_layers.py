"""The recurrent layers of flax.nnx and Equinox, differentiated by JAX.

Both have torch's gate order, one bias, and in the GRU of Equinox b_hn besides: that of the
candidate, inside what r multiplies. flax.nnx has none, so that it computes a GRU whose b_hn is 0.
The state of flax is (c, h).

Page: docs/implementations/frameworks.md
"""

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp

from ..fitting import without_new_bias
from ..implementation import Implementation, Lengths

ACTIVATIONS = {"RNN_TANH": jnp.tanh, "RNN_RELU": jax.nn.relu}


def _bias(p: Mapping[str, Any]) -> Any:
    """The sum of torch's two biases [G·H], zeros if there are none."""
    if "bias_ih" in p:
        return p["bias_ih"] + p["bias_hh"]
    return jnp.zeros(len(p["weight_ih"]), p["weight_ih"].dtype)


def _state(mode: str, p: Mapping[str, Any], x: Any, state: Sequence[Any] | None) -> list[Any]:
    """The initial state [h] or [h, c], zeros if none is given."""
    zeros = jnp.zeros((x.shape[1], p["weight_hh"].shape[1]), x.dtype)
    return list(state) if state is not None else [zeros] * (2 if mode == "LSTM" else 1)


def _flax_cell(mode: str, p: Mapping[str, Any]) -> Any:
    """A cell of flax.nnx with these parameters."""
    from flax import nnx

    weight_ih, weight_hh = p["weight_ih"], p["weight_hh"]
    sizes, dtype = (weight_ih.shape[1], weight_hh.shape[1]), weight_ih.dtype
    options: dict[str, Any] = {"dtype": dtype, "param_dtype": dtype, "rngs": nnx.Rngs(0)}
    if mode == "LSTM":
        cell: Any = nnx.OptimizedLSTMCell(*sizes, **options)
        cell.dense_h.bias[...] = _bias(p)
    else:
        if mode == "GRU":
            cell = nnx.GRUCell(*sizes, **options)
        else:
            cell = nnx.SimpleCell(*sizes, activation_fn=ACTIVATIONS[mode], **options)
        cell.dense_i.bias[...] = _bias(p)
    cell.dense_i.kernel[...] = weight_ih.T
    cell.dense_h.kernel[...] = weight_hh.T
    return cell


def flax_layer(
    mode: str,
    p: Mapping[str, Any],
    x: Any,
    state: Sequence[Any] | None,
    lengths: Lengths,
    reverse: bool,
) -> tuple[Any, list[Any]]:
    """A layer of flax.nnx, `nnx.RNN`."""
    from flax import nnx

    h, *c = _state(mode, p, x, state)
    rnn = nnx.RNN(_flax_cell(mode, p), time_major=True, reverse=reverse, keep_order=True)
    last, y = rnn(
        x,
        initial_carry=(c[0], h) if c else h,
        seq_lengths=None if lengths is None else jnp.array(lengths),
        return_carry=True,
    )
    return y, [last[1], last[0]] if c else [last]


def equinox_layer(
    mode: str,
    p: Mapping[str, Any],
    x: Any,
    state: Sequence[Any] | None,
    lengths: Lengths,
    reverse: bool,
) -> tuple[Any, list[Any]]:
    """A cell of Equinox in a scan, in which the state of a row that has ended stays."""
    import equinox

    width = 2 * p["weight_hh"].shape[1]  # of r and z
    kind: Any = equinox.nn.LSTMCell if mode == "LSTM" else equinox.nn.GRUCell
    key = jax.random.key(0)
    cell = kind(x.shape[-1], width // 2, use_bias="bias_ih" in p, dtype=x.dtype, key=key)
    values = {name: p[name] for name in ("weight_ih", "weight_hh")}
    if "bias_ih" in p:
        values["bias"] = _bias(p)
    if "bias_ih" in p and mode == "GRU":
        values["bias"] = jnp.concatenate([values["bias"][:width], p["bias_ih"][width:]])
        values["bias_n"] = p["bias_hh"][width:]
    cell = equinox.tree_at(
        lambda c: [getattr(c, name) for name in values], cell, [*values.values()]
    )
    runs = jnp.arange(len(x))[:, None] < jnp.array(lengths or [len(x)] * x.shape[1])

    def step(before: list[Any], now: tuple[Any, Any]) -> tuple[list[Any], Any]:
        x_t, runs_t = now
        after = jax.vmap(cell)(x_t, tuple(before) if mode == "LSTM" else before[0])
        after = after if mode == "LSTM" else (after,)
        kept = [jnp.where(runs_t[:, None], a, b) for a, b in zip(after, before, strict=True)]
        return kept, kept[0]

    last, y = jax.lax.scan(step, _state(mode, p, x, state), (x, runs), reverse=reverse)
    return y, last


_flax: Any = partial(
    Implementation, layer=flax_layer, engine="jax", version=partial(version, "flax")
)

flax = _flax("flax.nnx", cells=("RNN_TANH", "RNN_RELU", "LSTM"))
flax_gru = _flax(
    "flax.nnx GRU",
    cells=("GRU",),
    constrain=without_new_bias,
    not_returned=("d_bias_hh",),  # of which b_hn is a part
)
equinox = Implementation(
    "equinox",
    layer=equinox_layer,
    engine="jax",
    cells=("GRU", "LSTM"),
    version=partial(version, "equinox"),
)
