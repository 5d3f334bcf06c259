"""Helpers for tests of whole models: nets, parameters, states, and runs of an optimiser."""

import numpy as np
import torch
from hypothesis import strategies as st

from reference import GRU, LSTM, RNN
from reference.models import optim
from support.strategies import sizes
from torch_impl.models.optim import adam as torch_adam


@st.composite
def nets(draw, directions=(False,)):
    """RNN, GRU or LSTM with batch_first, one to three layers, with or without projection."""
    kind, hidden = draw(st.sampled_from([RNN, GRU, LSTM])), draw(sizes)
    options = {
        "num_layers": draw(st.integers(1, 3)),
        "bias": draw(st.booleans()),
        "bidirectional": draw(st.sampled_from(directions)),
        "batch_first": True,
    }
    if kind is LSTM and hidden > 1:
        options["proj_size"] = draw(st.integers(0, hidden - 1))
    return kind(draw(sizes), hidden, **options)


def params_of(model, rng, scale=0.7):
    """Random parameters, all different and none zero, padding row included."""
    return {n: scale * rng.standard_normal(s) for n, s in model.parameter_shapes().items()}


def states_of(net, B, rng):
    """h_0, and c_0 for the LSTM, by name."""
    h_0 = rng.standard_normal((net.num_layers, B, net.proj_size or net.hidden_size))
    if not isinstance(net, LSTM):
        return {"h_0": h_0}
    return {"h_0": h_0, "c_0": rng.standard_normal((net.num_layers, B, net.hidden_size))}


def state_in(net, named, when="0"):
    """The state of the net from arrays by name; None where `named` has no h."""
    if f"h_{when}" not in named:
        return None
    h = named[f"h_{when}"]
    return (h, named[f"c_{when}"]) if net.mode == "LSTM" else h


def named_state(net, state, when):
    """The inverse of `state_in`."""
    if net.mode == "LSTM":
        return {f"h_{when}": state[0], f"c_{when}": state[1]}
    return {f"h_{when}": state}


def train(params, step, batches, lr=1e-2):
    """The loss at every step of Adam, and the last parameters; `step(params, *batch)`."""
    state, losses = optim.adam_start(params), []
    for batch in batches:
        value, grads = step(params, *batch)
        params, state = optim.adam(params, grads, state, lr)
        losses.append(float(value))
    return np.array(losses), params


def train_in_torch(model, step, batches, lr=1e-2):
    """The loss at every step of torch's Adam; `step(model, *batch)`."""
    optimizer, losses = torch_adam(model.parameters(), lr), []
    for batch in batches:
        value = step(model, *(torch.tensor(a) for a in batch))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return np.array(losses)


def one_ulp_away(params, rng):
    """Every parameter moved to a neighbouring number, up or down."""
    return {n: np.nextafter(p, rng.choice([-np.inf, np.inf], p.shape)) for n, p in params.items()}
