"""clip_grad_norm_ accepts a negative max_norm and reverses every gradient.

Expected twice: a norm is never negative, so that no gradient has one of at most −1; and
clip_grad_value_ documents, and Optimizer rejects, negative numbers of this kind.
"""

import sys

import torch

theta = torch.nn.Parameter(torch.zeros(2))
theta.grad = torch.tensor([3.0, 4.0])
try:
    torch.optim.SGD([theta], lr=-1.0)
    raise AssertionError
except ValueError:
    pass
try:
    torch.nn.utils.clip_grad_norm_([theta], -1.0)
except (ValueError, RuntimeError) as error:
    print("rejected:", error)
    sys.exit(0)
print("expected: rejected; actual", theta.grad.tolist())
sys.exit(1)
