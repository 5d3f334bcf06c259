"""paddle.nn, two directions, rows of different lengths, an initial state: wrong gradients.

In the backward pass the initial h of the reverse direction counts as zero for every row that is
shorter than the batch. The values are right. Exits with 1 while the mistake exists.
"""

import sys

import numpy as np
import paddle

paddle.set_default_dtype("float64")
paddle.seed(1)


def make_loss(name):
    """A function of no arguments, the sum of h_n of the reverse direction, and its leaves."""
    x = paddle.to_tensor([[[0.3], [-0.7]], [[0.5], [0.9]]], stop_gradient=False)
    h_0 = paddle.to_tensor([[[0.4], [-0.2]], [[0.6], [0.8]]], stop_gradient=False)
    lengths = paddle.to_tensor([1, 2], dtype="int64")
    net = getattr(paddle.nn, name)(1, 1, direction="bidirect")

    def loss():
        if name == "LSTM":
            return net(x, (h_0, h_0 / 2), sequence_length=lengths)[1][0][1].sum()
        return net(x, h_0, sequence_length=lengths)[1][1].sum()

    reverse = {n: p for n, p in net.named_parameters() if n.endswith("reverse")}
    return loss, {"x": x, "h_0": h_0} | reverse


def central_differences(loss, leaf):
    """The derivative of the loss by each element of a leaf."""
    value, differences = leaf.numpy().copy(), []
    for i in range(value.size):
        ends = []
        for step in (1e-6, -1e-6):
            moved = value.copy()
            moved.flat[i] += step
            leaf.set_value(moved)
            ends.append(float(loss()))
        differences.append((ends[0] - ends[1]) / 2e-6)
    leaf.set_value(value)
    return np.array(differences)


wrong = False
for name in ("SimpleRNN", "LSTM", "GRU"):
    loss, leaves = make_loss(name)
    loss().backward()
    for leaf_name, leaf in leaves.items():
        gradient, differences = leaf.grad.numpy().ravel(), central_differences(loss, leaf)
        if np.abs(gradient - differences).max() > 1e-6:
            wrong = True
            print(f"{name} d_{leaf_name}")
            print("    autograd            ", np.round(gradient, 6))
            print("    central differences ", np.round(differences, 6))
sys.exit(wrong)
