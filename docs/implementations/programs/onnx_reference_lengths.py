"""ONNX's ReferenceEvaluator ignores `sequence_lens`: the final state is that of the last column.

Exits with 1 while the mistake exists.
"""

import sys

import numpy as np
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

x = np.array([[[0.5]], [[9.0]]])  # [T, B, I]; the second step is padding
feeds = {"X": x, "W": np.ones((1, 1, 1)), "R": np.ones((1, 1, 1)), "B": np.zeros((1, 2))}
inputs = [helper.make_tensor_value_info(n, TensorProto.DOUBLE, a.shape) for n, a in feeds.items()]
feeds["n"] = np.array([1], np.int32)
inputs.append(helper.make_tensor_value_info("n", TensorProto.INT32, [1]))
outputs = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in ("Y", "Y_h")]
node = helper.make_node("RNN", list(feeds), ["Y", "Y_h"], hidden_size=1)
graph = helper.make_graph([node], "one_node", inputs, outputs)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
y, h_n = ReferenceEvaluator(model).run(None, feeds)
print(f"Y_h {h_n.item():.6f}, expected tanh(0.5) = {np.tanh(0.5):.6f}")
print(f"Y   {y.ravel().round(6)}, expected 0 in the second step")
sys.exit(bool(abs(h_n.item() - np.tanh(0.5)) > 1e-12))
