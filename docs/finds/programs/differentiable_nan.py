"""A differentiable Adam, AdamW, NAdam, RMSprop or Adagrad has the gradient NaN where a gradient is
0, because √v is differentiated at 0.

The first step of Adam is −η g / (|g| + ε), with the slope −η/ε at 0. Expected twice: that, and
central differences of torch's own step.
"""

import sys

import torch


def step(g, kind):
    theta = torch.zeros(1, dtype=torch.float64, requires_grad=True).clone()
    theta.grad = g.clone()
    kind([theta], lr=0.5, eps=0.25, differentiable=True).step()
    return theta


wrong = False
for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RMSprop):
    zero = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        ends = [step(torch.full((1,), h, dtype=torch.float64), kind) for h in (1e-6, -1e-6)]
    expected = ((ends[0] - ends[1]) / 2e-6).item()
    if kind is torch.optim.Adam:
        assert abs(expected + 0.5 / 0.25) < 1e-4
    (actual,) = torch.autograd.grad(step(zero, kind).sum(), zero)
    print(kind.__name__, "expected", round(expected, 4), "actual", actual.item())
    wrong |= not abs(actual.item() - expected) < 1e-3
sys.exit(wrong)
