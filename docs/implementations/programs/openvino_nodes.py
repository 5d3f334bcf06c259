"""OpenVINO on the CPU reads ONNX nodes otherwise than the standard says, without an error.

    float64     is computed in float32 and returned as float64
    peepholes   the input P of a node LSTM is ignored
    layout=1    is ignored, so that the axes of time and batch are exchanged

Exits with 1 while one of the mistakes exists.
"""

import sys

import numpy as np
import openvino
from onnx import helper, numpy_helper

rng = np.random.default_rng(0)
core = openvino.Core()


def run(operator, x, constants, **attributes):
    """The output Y of a model of one node."""
    given = ["X", *(n if n in constants else "" for n in ("W", "R", "B", "", "h", "c", "P"))]
    while not given[-1]:
        given.pop()
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        [helper.make_node(operator, given, ["Y"], hidden_size=1, **attributes)],
        "one_node",
        [helper.make_tensor_value_info("X", kind, x.shape)],
        [helper.make_tensor_value_info("Y", kind, None)],
        [numpy_helper.from_array(a.astype(x.dtype), name) for name, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    compiled = core.compile_model(
        core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return np.array(compiled({"X": x})[0])


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


x = rng.standard_normal((1, 1, 1))
one = np.ones((1, 1, 1))
y = run("RNN", x, {"W": one, "R": one})
error = abs(y.item() - np.tanh(x.item()))
print(f"float64: Y is {y.dtype}, its error is {error:.1e}")
wrong = error > 1e-12

weights = {"W": np.ones((1, 4, 1)), "R": np.ones((1, 4, 1)), "B": np.zeros((1, 8))}
weights |= {"h": np.zeros((1, 1, 1)), "c": one, "P": np.full((1, 3), 2.0)}
y = run("LSTM", x.astype(np.float32), weights).item()
a = x.item()
c = sigmoid(a + 2) + sigmoid(a + 2) * np.tanh(a)
with_p = sigmoid(a + 2 * c) * np.tanh(c)
c = sigmoid(a) + sigmoid(a) * np.tanh(a)
without_p = sigmoid(a) * np.tanh(c)
print(f"peepholes: Y is {y:.6f}; with P {with_p:.6f}, without P {without_p:.6f}")
wrong |= abs(y - with_p) > 1e-5

x = rng.standard_normal((2, 3, 1)).astype(np.float32)  # a batch of 2, 3 steps
y = run("RNN", x, {"W": one, "R": one}, layout=1)
print(f"layout=1: X is {list(x.shape)}, Y is {list(y.shape)}, expected [2, 3, 1, 1]")
wrong |= y.shape != (2, 3, 1, 1)
sys.exit(bool(wrong))
