"""embedding(max_norm=…) in float16 makes a row 0 whose norm is above 65504.

Expected twice: max_norm/√n by hand, and the same in float32.
"""

import sys

import torch


def row(dtype):
    weight = torch.full((1, 4), 40000.0, dtype=dtype)
    found = torch.nn.functional.embedding(torch.tensor([0]), weight, max_norm=8.0)
    return found.flatten().tolist()


expected = [4.0] * 4
assert expected == [round(v, 3) for v in row(torch.float32)]
actual = row(torch.float16)
print("expected", expected, "actual", actual)
sys.exit(max(abs(a - 4) for a in actual) > 0.1)
