"""torch.onnx.export(dynamo=True) of an LSTM with a projection writes a node LSTM, which has none:
ONNX Runtime rejects the file when it is called. Needs onnx, onnxscript and onnxruntime.

Expected twice: the net itself, and a loop of the documented equations in NumPy. An export that
raises would be right too.
"""

import os
import sys
import tempfile
import warnings

import numpy as np
import onnxruntime
import torch

warnings.simplefilter("ignore")
net, x = torch.nn.LSTM(2, 3, proj_size=1), torch.ones(4, 1, 2)
with torch.no_grad():
    for p in net.parameters():
        p.fill_(0.5)
    expected = net(x)[0].numpy().flatten()
h, c, by_hand = 0.0, 0.0, []
for _ in range(4):  # all numbers of a gate and of a state are equal
    a = 0.5 + 0.5 + 0.5 + 0.5 * h + 0.5
    gate = 1 / (1 + np.exp(-a))
    c = gate * c + gate * np.tanh(a)
    h = 3 * 0.5 * gate * np.tanh(c)
    by_hand.append(float(h))
assert np.allclose(expected, by_hand)
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
with tempfile.TemporaryDirectory() as folder:
    file = os.path.join(folder, "net.onnx")
    try:
        torch.onnx.export(net, (x,), file, dynamo=True, verbose=False)
    except Exception as error:  # it is rejected
        print("expected", by_hand, "actual: not exported,", type(error).__name__)
        sys.exit(0)
    try:
        session = onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])
        actual = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0].flatten()
    except Exception as error:
        print("expected", by_hand, "actual:", str(error).splitlines()[0])
        sys.exit(1)
print("expected", by_hand, "actual", actual.tolist())
sys.exit(not np.allclose(actual, expected, atol=1e-6))
