"""A net of one layer in one direction, with its arrays as the net takes them."""

from typing import Any, NamedTuple

import numpy as np

from reference import GRU, LSTM, RNN

NETS = {
    "tanh": RNN(3, 4),
    "relu": RNN(3, 4, nonlinearity="relu"),
    "GRU": GRU(3, 4),
    "LSTM": LSTM(3, 4),
    "projected LSTM": LSTM(3, 4, proj_size=2),
    "GRU without bias": GRU(3, 4, bias=False),
}


class Single(NamedTuple):
    """A net, its inputs, and random cotangents of output and final state."""

    net: Any
    params: dict[str, np.ndarray]
    x: np.ndarray
    state: Any
    d_output: np.ndarray
    d_state: Any

    @property
    def weights(self):
        """The parameters as the tuple that the cell takes."""
        return self.net.cell_params(self.params, "_l0")


def single(net, T=6, B=2, seed=0, scale=1.0):
    """Random arrays for a net, which is an object or its name in NETS."""
    net = NETS[net] if isinstance(net, str) else net
    rng = np.random.default_rng(seed)
    H = net.hidden_size
    widths = [net.proj_size or H, H] if net.mode == "LSTM" else [H]
    normal = rng.standard_normal
    params = {name: scale * normal(shape) for name, shape in net.parameter_shapes().items()}
    x = normal((T, B, net.input_size))
    state, d_state = [tuple(normal((1, B, width)) for width in widths) for _ in range(2)]
    if net.mode != "LSTM":
        state, d_state = state[0], d_state[0]
    return Single(net, params, x, state, normal((T, B, widths[0])), d_state)


def derivative(p, d_params=None, d_x=0.0, d_state=None):
    """The derivatives of output and final state [B, S] along a direction, by complex step.

    Exact to rounding: Im f(v + iεu)/ε takes no difference.
    """
    fields = p.state if p.net.mode == "LSTM" else (p.state,)
    d_fields = d_state or [0.0] * len(fields)
    shifted = [s + 1e-30j * np.asarray(d) for s, d in zip(fields, d_fields, strict=True)]
    params = {k: v + 1e-30j * np.asarray((d_params or {}).get(k, 0)) for k, v in p.params.items()}
    state = tuple(shifted) if p.net.mode == "LSTM" else shifted[0]
    output, final, _ = p.net.forward(params, p.x + 1e-30j * np.asarray(d_x), state)
    return output.imag / 1e-30, concatenate_state(p.net, final).imag / 1e-30


def concatenate_state(net, state):
    """The fields of a state, concatenated to [B, S]."""
    fields = state if net.mode == "LSTM" else (state,)
    return np.concatenate([field[0] for field in fields], axis=1)


def close(found, expected, tolerance=1e-12):
    """Assert agreement to `tolerance` of the largest element of `expected`."""
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    error = np.abs(found - expected).max(initial=0)
    largest = np.abs(expected).max(initial=0)
    assert error <= tolerance * largest, f"{error:.3g} where the largest is {largest:.3g}"
