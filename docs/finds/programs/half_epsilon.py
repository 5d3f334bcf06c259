"""Adam in float16 makes a parameter NaN where its gradient is 0: ε = 1e-8 is 0 in float16, and the
step is 0/0.

Expected twice: the step of a gradient 0 is 0, and the same in float32.
"""

import sys

import torch


def stepped(dtype):
    theta = torch.nn.Parameter(torch.zeros(2, dtype=dtype))
    theta.grad = torch.tensor([0.0, 1.0], dtype=dtype)
    torch.optim.Adam([theta], lr=0.5, foreach=False).step()
    return theta.tolist()


expected = [0.0, -0.5]
assert expected == [round(v, 4) for v in stepped(torch.float32)]
actual = stepped(torch.float16)
print("expected", expected, "actual", actual)
sys.exit(actual[0] != 0)
