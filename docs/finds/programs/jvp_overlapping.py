"""torch.func.jvp at a tensor whose elements share memory: the tangent is copied into the layout of
the tensor, where its elements overwrite each other.

Expected twice: the derivative of 2 x along t is 2 t, and the same at a contiguous copy.
"""

import sys

import torch

x = torch.arange(3.0).as_strided((2, 2), (1, 1))  # [[0, 1], [1, 2]]
tangent = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
expected = (2 * tangent).tolist()
_, second = torch.func.jvp(lambda x: 2 * x, (x.clone(),), (tangent,))
assert second.tolist() == expected
_, actual = torch.func.jvp(lambda x: 2 * x, (x,), (tangent,))
print("expected", expected, "actual", actual.tolist())
sys.exit(actual.tolist() != expected)
