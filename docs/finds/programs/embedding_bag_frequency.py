"""embedding_bag(scale_grad_by_freq=True) on the CPU divides a gradient by the frequency of another
entry.

Expected twice: each entry gets its gradient once, because n times 1/n is 1; and a sum of
torch.nn.functional.embedding(scale_grad_by_freq=True).
"""

import sys

import torch

F = torch.nn.functional
index = torch.tensor([1, 1, 3])


def gradient(call):
    weight = torch.ones(4, 1, requires_grad=True)
    call(weight).sum().backward()
    return weight.grad.flatten().tolist()


expected = [0.0, 1.0, 0.0, 1.0]
assert expected == gradient(lambda w: F.embedding(index, w, scale_grad_by_freq=True))
options = {"mode": "sum", "scale_grad_by_freq": True}
actual = gradient(lambda w: F.embedding_bag(index, w, torch.tensor([0]), **options))
print("expected", expected, "actual", actual)
sys.exit(expected != actual)
