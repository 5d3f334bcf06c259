"""Adam with float64 parameters and a learning rate in a tensor is as exact as the rate's float32,
although 0.125 is exact in float32.

Expected twice: the same optimiser with the number 0.125, and the closed form: two equal gradients
give two steps of −η g / (|g| + ε).
"""

import sys

import torch


def trained(lr):
    theta = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.Adam([theta], lr=lr, foreach=False)
    for _ in range(2):
        theta.grad = torch.ones(1, dtype=torch.float64)
        optimizer.step()
    return theta.item()


expected = -2 * 0.125 / (1 + 1e-8)
assert abs(trained(0.125) - expected) < 1e-13
actual = trained(torch.tensor(0.125))
print("expected", expected, "actual", actual)
sys.exit(abs(actual - expected) > 1e-12)
