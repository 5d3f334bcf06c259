"""Forward mode on a problem along a direction in all its inputs, and the second-order pass."""

import torch

from reference.derivatives import second_order, tangent
from reference.derivatives.dual import Dual
from support.problems import STATE_OR_X, solve
from support.verdicts import random_like


def pair_of(problem, direction):
    """Params, x and state as pairs (value, tangent), the arguments of `tangent.forward`."""
    halves = (problem.inputs, direction)
    params = Dual(*[{k: v for k, v in d.items() if k not in STATE_OR_X} for d in halves])
    x = Dual(*[problem.wrap(d["x"]) for d in halves])
    if "h_0" not in problem.inputs:
        return params, x, None
    return params, x, Dual(*[_state(problem.net, d["h_0"], d.get("c_0")) for d in halves])


def push(problem, direction):
    """Outputs by name, their derivatives by name, and the tape."""
    masks = [problem.wrap(mask) for mask in problem.masks] or None
    output, state, tape = tangent.forward(problem.net, *pair_of(problem, direction), masks)
    found = []
    for half in (0, 1):
        s = state[half] if problem.net.mode == "LSTM" else (state[half],)
        names = dict(zip(("h_n", "c_n"), s, strict=False))
        found.append({"output": problem.unwrap(output[half])} | names)
    return *found, tape


def pull(problem, tape, cotangents):
    """Gradients and their derivatives by name, from pairs (cotangents, their derivatives)."""
    d_output = Dual(*[problem.wrap(d["output"]) for d in cotangents])
    d_state = Dual(*[_state(problem.net, d["h_n"], d.get("c_n")) for d in cotangents])
    found = []
    for grads in second_order.backward(problem.net, tape, d_output, d_state):
        state = grads.state if problem.net.mode == "LSTM" else (grads.state,)
        named = {"x": problem.unwrap(grads.x)} | dict(zip(("h_0", "c_0"), state, strict=False))
        named |= grads.params
        found.append({name: named[name] for name in problem.inputs})
    return found


def loss_weights(problem, seed=2):
    """w of the loss L = Σ w ⊙ y² / 2 over every output y, whose cotangent is w ⊙ y."""
    return random_like(solve(problem)[0], seed)


def tensors(arrays):
    return {name: torch.tensor(value) for name, value in arrays.items()}


def torch_wrap(problem):
    """A function that wraps packed rows in torch's PackedSequence; else the identity."""
    if problem.packing is None:
        return lambda x: x
    indices = [None if i is None else torch.as_tensor(i) for i in problem.packing[1:]]
    return lambda x: torch.nn.utils.rnn.PackedSequence(x, *indices)


def _state(net, h, c):
    return (h, c) if net.mode == "LSTM" else h
