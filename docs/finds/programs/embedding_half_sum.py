"""The gradient of an embedding in bfloat16 and float16 stops to grow at 256 and 2048: the rows of
an entry that occurs often are added one by one in that type.

Expected twice: an entry that occurs 3000 times has the gradient 3000; and the same by a product
with one-hot rows, in the same type.
"""

import sys

import torch

wrong = False
for dtype in (torch.bfloat16, torch.float16):
    weight = torch.zeros(2, 1, dtype=dtype, requires_grad=True)
    index = torch.zeros(3000, dtype=torch.long)
    (actual,) = torch.autograd.grad(torch.nn.functional.embedding(index, weight).sum(), weight)
    one_hot = torch.nn.functional.one_hot(index, 2).to(dtype)
    (second,) = torch.autograd.grad((one_hot @ weight).sum(), weight)
    assert abs(second[0].item() - 3000) <= 8, second  # stored with 8 bits
    print(dtype, "expected", 3000, "actual", actual[0].item())
    wrong |= abs(actual[0].item() - 3000) > 100
sys.exit(wrong)
