"""SGD(differentiable=True, momentum=…): the first momentum buffer is detached, so that the first
gradient has no derivative.

After two steps θ = −η (g₁ + μ g₁ + g₂), so dθ/dg₁ = −η (1 + μ). Expected twice: that, and central
differences of torch's own steps.
"""

import sys

import torch


def trained(g):
    theta = torch.zeros(1, dtype=torch.float64, requires_grad=True).clone()
    optimizer = torch.optim.SGD([theta], lr=0.5, momentum=0.5, differentiable=True)
    for _ in range(2):
        theta.grad = g.clone()
        optimizer.step()
        g = torch.ones(1, dtype=torch.float64)
    return theta


g = torch.ones(1, dtype=torch.float64, requires_grad=True)
expected = -0.5 * (1 + 0.5)
with torch.no_grad():
    second = ((trained(g + 1e-3) - trained(g - 1e-3)) / 2e-3).item()
assert abs(second - expected) < 1e-9
(actual,) = torch.autograd.grad(trained(g).sum(), g, materialize_grads=True)
print("expected", expected, "actual", actual.item())
sys.exit(abs(actual.item() - expected) > 1e-9)
