"""ONNX Runtime, float32 on the CPU: σ and the tanh of the node RNN have no relative accuracy.

σ(a) is accurate to about 1e-7 in absolute terms, so that its relative error grows as a decreases,
and it is 0 below −18. The node RNN computes tanh(a) as 2σ(2a) − 1, which is as inaccurate near 0
and is 0 at 1e-8; the node Tanh is accurate. Exits with 1 while the mistake exists.
"""

import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper


def run(operator, feeds, outputs, **attributes):
    """The last output of a model of one node."""
    graph = helper.make_graph(
        [helper.make_node(operator, list(feeds), outputs, **attributes)],
        "one_node",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in feeds.items()],
        [helper.make_tensor_value_info(outputs[-1], TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)[0].ravel()


def relative_errors(value, true):
    return np.abs(value / true - 1)


errors = []
a = np.array([-30, -20, -18, -16, -12, -8, -4, 0], np.float32)
errors.append(relative_errors(run("Sigmoid", {"x": a}, ["y"]), 1 / (1 + np.exp(-a.astype(float)))))
print("σ, relative error")
for net_input, error in zip(a, errors[-1], strict=True):
    print(f"    a = {net_input:5.0f}   {error:.1e}")

a = 10.0 ** np.arange(-8, 1, dtype=np.float32)
one = np.ones((1, 1, 1), np.float32)
by_tanh = relative_errors(run("Tanh", {"x": a}, ["y"]), np.tanh(a.astype(float)))
batch = {"x": a[None, :, None], "W": one, "R": one}
by_rnn = run("RNN", batch, ["", "h"], hidden_size=1)
errors.append(relative_errors(by_rnn, np.tanh(a.astype(float))))
print("tanh, relative error in the nodes RNN and Tanh")
for net_input, in_rnn, in_tanh in zip(a, errors[-1], by_tanh, strict=True):
    print(f"    a = {net_input:.0e}   {in_rnn:.1e}   {in_tanh:.1e}")
sys.exit(bool(max(error.max() for error in errors) > 1e-5))
