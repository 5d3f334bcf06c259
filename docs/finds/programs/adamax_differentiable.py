"""Adamax(differentiable=True) cannot be differentiated after two steps: a tensor that the backward
pass needs is changed in place.

Expected twice: SGD over the same steps has a derivative, and so has Adamax by central differences.
"""

import sys

import torch


def trained(g, kind):
    theta = torch.zeros(1, dtype=torch.float64, requires_grad=True).clone()
    optimizer = kind([theta], lr=0.5, differentiable=True)
    for _ in range(2):
        theta.grad = g.clone()
        optimizer.step()
        g = 2 * g.detach()
    return theta


g = torch.ones(1, dtype=torch.float64, requires_grad=True)
assert torch.autograd.grad(trained(g, torch.optim.SGD).sum(), g)[0].isfinite().all()
with torch.no_grad():
    ends = [trained(g + h, torch.optim.Adamax).item() for h in (1e-4, -1e-4)]
expected = (ends[0] - ends[1]) / 2e-4
try:
    (actual,) = torch.autograd.grad(trained(g, torch.optim.Adamax).sum(), g)
except RuntimeError as error:
    print("expected", expected, "actual: raised", str(error).splitlines()[0][:90])
    sys.exit(1)
print("expected", expected, "actual", actual.item())
sys.exit(abs(actual.item() - expected) > 1e-3)
