"""NAdam and ASGD with float64 parameters are as exact as float32: mu_product, eta and mu are kept
as tensors of the default dtype.

Expected twice: the documented update in Python's floats, and torch itself under a default dtype of
float64.
"""

import sys

import torch


def step(kind):
    theta = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = kind([theta], lr=0.1)
    for _ in range(2):
        theta.grad = torch.ones(1, dtype=torch.float64)
        optimizer.step()
    return theta.item()


def nadam(g=1.0, lr=0.1, b1=0.9, b2=0.999, decay=4e-3, eps=1e-8):
    theta = m = v = 0.0
    mu = [b1 * (1 - 0.5 * 0.96 ** (t * decay)) for t in range(1, 4)]
    product = 1.0
    for t in (1, 2):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        product *= mu[t - 1]
        d = (v / (1 - b2**t)) ** 0.5 + eps
        theta -= lr * (1 - mu[t - 1]) / (1 - product) * g / d
        theta -= lr * mu[t] / (1 - product * mu[t]) * m / d
    return theta


def asgd(g=1.0, lr=0.1, lambd=1e-4, alpha=0.75):
    theta, eta = 0.0, lr
    for t in (1, 2):
        theta = theta * (1 - lambd * eta) - eta * g
        eta = lr / (1 + lambd * lr * t) ** alpha
    return theta


wrong = False
for kind, formula in ((torch.optim.NAdam, nadam), (torch.optim.ASGD, asgd)):
    expected, actual = formula(), step(kind)
    torch.set_default_dtype(torch.float64)
    second = step(kind)
    torch.set_default_dtype(torch.float32)
    assert abs(second - expected) < 1e-14, (second, expected)
    print(kind.__name__, "expected", expected, "actual", actual)
    wrong |= abs(actual - expected) > 1e-12
sys.exit(wrong)
