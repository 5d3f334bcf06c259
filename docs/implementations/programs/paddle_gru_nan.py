"""paddle.nn.GRU in float32: the gradient is NaN where the reset gate is 0; the values are right.

At a net input below −88.7 of r the function exp(−a) overflows, and r is 0. Exits with 1 while the
mistake exists.
"""

import sys

import numpy as np
import paddle

net = paddle.nn.GRU(1, 1)
cell = net[0].cell
for weight in (cell.weight_ih, cell.weight_hh, cell.bias_hh):
    weight.set_value(np.zeros(weight.shape, "float32"))
cell.bias_ih.set_value(np.array([-100, 0, 0.5], "float32"))  # net inputs of r, z, n
output, _ = net(paddle.ones([1, 3, 1]))
output.sum().backward()
print("output", output.numpy().ravel())
for name, parameter in net.named_parameters():
    print(f"d_{name}", parameter.grad.numpy().ravel())
sys.exit(bool(np.isnan(cell.weight_hh.grad.numpy()).any()))
