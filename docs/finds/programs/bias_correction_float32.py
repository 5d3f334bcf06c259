"""A differentiable or compiled Adam computes 1 − β₂ᵗ in float32, in float64 too.

The first step of Adam is −η g / (|g| + ε) exactly. Expected twice: that in float64, and by the
loop; the differentiable form is off by 6e-6 for β₂ = 0.999 and by more for a larger β₂.
"""

import sys

import torch


def step(**form):
    theta = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    theta = theta.clone() if form.get("differentiable") else theta
    theta.grad = torch.tensor([2.0], dtype=torch.float64)
    torch.optim.Adam([theta], lr=1.0, betas=(0.9, 0.99999), **form).step()
    return theta.item()


expected = -2.0 / (2.0 + 1e-8)
assert abs(step(foreach=False) - expected) < 1e-11  # 1 − β₂ loses five digits of sixteen
actual = step(differentiable=True)
print("expected", expected, "actual", actual)
sys.exit(abs(actual - expected) > 1e-10)
