"""differentiable=True computes the bias correction of Adam in float32, for float64 as well.

The first step of Adam is the learning rate against the sign of the gradient. Exits with 1 while the
mistake exists.
"""

import sys

import torch

wrong = False
for beta_2 in (0.999, 0.9999, 0.99999):
    for form in ({"foreach": False}, {"differentiable": True}):
        parameter = torch.zeros(1, dtype=torch.float64)
        parameter.grad = torch.ones(1, dtype=torch.float64)
        torch.optim.Adam([parameter], lr=1.0, betas=(0.9, beta_2), eps=0.0, **form).step()
        error = abs(parameter.item() + 1)
        wrong |= error > 1e-10
        print(f"beta_2 = {beta_2:<8} {form!s:24} error of the step {error:.1e}")
sys.exit(wrong)
