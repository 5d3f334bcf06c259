"""torch.onnx.export(dynamo=True) of nn.LSTM and nn.GRU, input of any length: the output has the
number of steps of the example, and the rest is in its rows. Needs onnx, onnxscript and
onnxruntime.

Expected twice: the net itself, and a loop of the documented equations in NumPy.
"""

import os
import sys
import tempfile
import warnings

import numpy as np
import onnxruntime
import torch

if not hasattr(torch.export.Dim, "AUTO"):
    print("expected an input of any length; actual: this torch has no Dim.AUTO")
    sys.exit(0)
warnings.simplefilter("ignore")
net, x = torch.nn.LSTM(1, 1), torch.ones(6, 2, 1)
with torch.no_grad():
    for p in net.parameters():
        p.fill_(0.5)
    expected = net(x)[0].numpy()
h, c = 0.0, 0.0
for output in expected:
    a = 0.5 + 0.5 + 0.5 * h + 0.5
    gate = 1 / (1 + np.exp(-a))
    c = gate * c + gate * np.tanh(a)
    h = gate * np.tanh(c)
    assert np.allclose(output, h)
auto = torch.export.Dim.AUTO
with tempfile.TemporaryDirectory() as folder:
    file = os.path.join(folder, "net.onnx")
    example, shapes = (torch.ones(4, 3, 1),), ({0: auto, 1: auto},)
    torch.onnx.export(net, example, file, dynamo=True, dynamic_shapes=shapes, verbose=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0]
actual = session.run(None, {name.name: x.numpy()})[0]
print("declared input", name.shape, "expected", expected.shape, "actual", actual.shape)
sys.exit(actual.shape != expected.shape or not np.allclose(actual, expected, atol=1e-6))
