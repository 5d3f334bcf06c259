"""Steps of an optimiser here and in torch's loop form, on the same gradients."""

import numpy as np
import torch

SHAPES = {"weight": (3, 4), "bias": (5,), "scale": ()}
NAMES = list(SHAPES)


def gradients(rng, scale=1.0):
    """Gradients of SHAPES, with magnitudes over six powers of ten."""
    return {
        n: scale * rng.standard_normal(s) * 10.0 ** rng.uniform(-3, 3, s) for n, s in SHAPES.items()
    }


def leaves_of(params, grads=None):
    """`params` as torch parameters, in the order of NAMES, with `grads` where they are given."""
    leaves = [torch.nn.Parameter(torch.tensor(params[n])) for n in NAMES]
    for name, leaf in zip(NAMES, leaves, strict=True):
        if grads is not None:
            leaf.grad = torch.tensor(grads[name])
    return leaves


def trajectory(step, optimizer_of, seed, steps=40, tolerance=1e-13):
    """Assert the same parameters after each step on the same gradients, here and in torch.

    `step(params, grads, state)` returns parameters and state, which is None at first. The unit of
    an array is the largest element it has had, at the start or later: an element near zero still
    has the rounding errors of its earlier, larger values. Returns the last state, and torch's state
    of each parameter.
    """
    rng = np.random.default_rng(seed)
    params, state = {n: rng.standard_normal(s) for n, s in SHAPES.items()}, None
    leaves, unit = leaves_of(params), {n: np.abs(params[n]).max() for n in NAMES}
    optimizer = optimizer_of(leaves)
    for _ in range(steps):
        grads = gradients(rng)
        params, state = step(params, grads, state)
        for name, leaf in zip(NAMES, leaves, strict=True):
            leaf.grad = torch.tensor(grads[name])
        optimizer.step()
        for name, leaf in zip(NAMES, leaves, strict=True):
            unit[name] = max(unit[name], np.abs(params[name]).max())
            error = np.abs(params[name] - leaf.detach().numpy()).max()
            assert error <= tolerance * unit[name], name
    return state, {n: optimizer.state[leaf] for n, leaf in zip(NAMES, leaves, strict=True)}
