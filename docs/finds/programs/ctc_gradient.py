"""The gradient of ctc_loss is that of ctc_loss after log_softmax, also where log_probs do not come
from log_softmax.

Two steps, one label: the alignments are (b, l), (l, b) and (l, l). Expected twice: the derivative
of −log of their sum by hand, and central differences of torch's own loss.
"""

import math
import sys

import torch

log_probs = torch.tensor([[[0.5, 0.5]], [[0.25, 0.75]]], dtype=torch.float64).log()


def loss(log_probs):
    label, one, two = torch.tensor([[1]]), torch.tensor([1]), torch.tensor([2])
    return torch.nn.functional.ctc_loss(log_probs, label, two, one, reduction="sum")


paths = [0.5 * 0.75, 0.5 * 0.25, 0.5 * 0.75]
assert abs(loss(log_probs).item() + math.log(sum(paths))) < 1e-12
expected = -paths[0] / sum(paths)  # by the logarithm of the blank in the first step
d = torch.zeros_like(log_probs)
d[0, 0, 0] = 1e-5
second = ((loss(log_probs + d) - loss(log_probs - d)) / 2e-5).item()
assert abs(second - expected) < 1e-8
leaf = log_probs.clone().requires_grad_()
actual = torch.autograd.grad(loss(leaf), leaf)[0][0, 0, 0].item()
print("expected", expected, "actual", actual)
sys.exit(abs(actual - expected) > 1e-8)
