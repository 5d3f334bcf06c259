"""SGD(fused=True, momentum=…) in bfloat16 and float16: parameters of 16 elements do not move.

Expected twice: θ − η g by hand, and by the same optimiser with foreach=False.
"""

import sys

import torch


def stepped(**form):
    theta = torch.nn.Parameter(torch.zeros(16, dtype=torch.bfloat16))
    theta.grad = torch.ones_like(theta)
    torch.optim.SGD([theta], lr=1.0, momentum=0.5, **form).step()
    return theta.tolist()


expected = [-1.0] * 16
assert expected == stepped(foreach=False)
actual = stepped(fused=True)
print("expected", expected, "actual", actual)
sys.exit(expected != actual)
