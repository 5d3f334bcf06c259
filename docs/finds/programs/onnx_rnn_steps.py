"""torch.onnx.export(dynamo=True) of nn.RNN: the input is declared of any length, and steps beyond
those of the example are dropped. Needs onnx, onnxscript and onnxruntime.

Expected twice: the net itself, and a loop of products.
"""

import os
import sys
import tempfile
import warnings

import onnxruntime
import torch

if not hasattr(torch.export.Dim, "AUTO"):
    print("expected an input of any length; actual: this torch has no Dim.AUTO")
    sys.exit(0)
warnings.simplefilter("ignore")
net, x = torch.nn.RNN(1, 1), torch.ones(9, 2, 1)
with torch.no_grad():
    for p in net.parameters():
        p.fill_(0.5)
auto = torch.export.Dim.AUTO
with tempfile.TemporaryDirectory() as folder:
    file = os.path.join(folder, "net.onnx")
    example = (torch.ones(4, 2, 1),)
    shapes = ({0: auto, 1: auto},)
    torch.onnx.export(net, example, file, dynamo=True, dynamic_shapes=shapes, verbose=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0]
output, h_n = session.run(None, {name.name: x.numpy()})
expected, h = net(x)[0], torch.zeros(2, 1)
for step in x:
    h = torch.tanh(0.5 * step + 0.5 + 0.5 * h + 0.5)
assert torch.allclose(expected[-1], h)
print("declared input", name.shape, "expected", tuple(expected.shape), "actual", output.shape)
print("last state expected", h.flatten().tolist(), "actual", h_n.flatten().tolist())
sys.exit(output.shape != tuple(expected.shape))
