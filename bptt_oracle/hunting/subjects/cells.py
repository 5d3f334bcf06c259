"""RNNCell, GRUCell and LSTMCell as functions of their input, states and parameters.

Truth is the reference's equations, which take complex numbers too.
"""

from typing import Any

import numpy as np

from ..programs.fields import Choice, Program, Size
from ..programs.functions import Function, sigmoid
from ..programs.written import Arrays

GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "GRU": 3, "LSTM": 4}
FIELDS: dict[str, Any] = {
    "cell": Choice(tuple(GATES)),
    "bias": Choice((True, False)),
    "batch": Choice(("rows", "none")),  # none: x [I]
    "size": Choice(("ordinary", "large", "tiny"), (4, 1, 1)),
    "B": Size(1, 3),
    "I": Size(1, 3),
    "H": Size(1, 4),
}


def _tidy(program: Program) -> Program | None:
    if program["batch"] == "none":
        if program["road"] == "vmap" or program["layout"] not in ("contiguous", "every second"):
            return None
        program = program | {"B": 1}
    if program["cell"] == "RNN_RELU" and program["road"] == "double":
        return None
    if program["size"] == "tiny" and program["dtype"] == "float16":
        return None
    return program


def _shapes(program: Program) -> dict[str, tuple[int, ...]]:
    width, H = program["I"], program["H"]
    rows = (program["B"],) if program["batch"] == "rows" else ()
    shapes: dict[str, tuple[int, ...]] = {"x": (*rows, width), "h": (*rows, H)}
    if program["cell"] == "LSTM":
        shapes["c"] = (*rows, H)
    g = GATES[program["cell"]] * H
    shapes |= {"weight_ih": (g, width), "weight_hh": (g, H)}
    if program["bias"]:
        shapes |= {"bias_ih": (g,), "bias_hh": (g,)}
    return shapes


def _adapt(program: Program, inputs: Arrays) -> Arrays:
    factor = {"ordinary": 1, "large": 32, "tiny": 1e-20}[program["size"]]
    inputs["x"] = inputs["x"] * factor
    return inputs


def _prelude(program: Program) -> str:
    cell = program["cell"]
    module = {"GRU": "GRUCell", "LSTM": "LSTMCell"}.get(cell, "RNNCell")
    extra = ", nonlinearity='relu'" if cell == "RNN_RELU" else ""
    return (
        f"net = torch.nn.{module}({program['I']}, {program['H']}, bias={program['bias']}{extra})\n"
    )


def _expression(program: Program) -> str:
    state = "(h, c)" if program["cell"] == "LSTM" else "h"
    names = ["weight_ih", "weight_hh"] + ["bias_ih", "bias_hh"] * program["bias"]
    params = ", ".join(f"{n!r}: {n}" for n in names)
    call = f"torch.func.functional_call(net, {{{params}}}, (x, {state}))"
    return f"torch.cat({call}, -1)" if program["cell"] == "LSTM" else call


def _formula(program: Program, inputs: Arrays) -> np.ndarray:
    x, h, H = inputs["x"], inputs["h"], program["H"]
    zero = np.zeros(GATES[program["cell"]] * H)
    u = x @ inputs["weight_ih"].T + inputs.get("bias_ih", zero)
    v = h @ inputs["weight_hh"].T + inputs.get("bias_hh", zero)
    if program["cell"] == "RNN_TANH":
        return np.asarray(np.tanh(u + v))
    if program["cell"] == "RNN_RELU":
        return np.where(np.real(u + v) > 0, u + v, 0)
    if program["cell"] == "GRU":
        r = sigmoid((u + v)[..., :H])
        z = sigmoid((u + v)[..., H : 2 * H])
        n = np.tanh(u[..., 2 * H :] + r * v[..., 2 * H :])
        return np.asarray((1 - z) * n + z * h)
    i, f, g, o = np.split(u + v, 4, -1)
    c = sigmoid(f) * inputs["c"] + sigmoid(i) * np.tanh(g)
    return np.concatenate([sigmoid(o) * np.tanh(c), c], -1)


FUNCTION = Function(
    "cells",
    FIELDS,
    _tidy,
    _shapes,
    lambda program, rng: {},
    _expression,
    _formula,
    _adapt,
    scale=lambda program, inputs: 4 * float(np.abs(inputs["x"]).max(initial=1)),
    prelude=_prelude,
)
