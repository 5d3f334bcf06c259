"""clip_grad_norm_(norm_type=0) returns how many parameters have a gradient that is not 0, and clips
by that: the norm of order 0 of all gradients as one vector is the number of elements.

Expected twice: counted by hand, and torch.linalg.vector_norm of all gradients together.
"""

import sys

import torch

params = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2))]
params[0].grad, params[1].grad = torch.tensor([1.0, -2.0, 0.0]), torch.tensor([3.0, 4.0])
together = torch.cat([p.grad for p in params])
expected = 4.0
assert torch.linalg.vector_norm(together, 0).item() == expected
actual = torch.nn.utils.clip_grad_norm_(params, 1e9, 0.0).item()
print("expected", expected, "actual", actual)
sys.exit(expected != actual)
