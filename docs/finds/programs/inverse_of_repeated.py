"""invert_permutation of indices that repeat returns a number that was in memory.

Expected twice: no order of three indices undoes the repeated ones, by trying all of them; and what
a function returns depends on its argument alone, not on what was in memory before.
"""

import itertools
import sys

import torch
from torch.nn.utils.rnn import invert_permutation

repeated = torch.tensor([0, 0, 2])
orders = map(torch.tensor, itertools.permutations(range(3)))
assert not any(torch.equal(order[repeated], torch.arange(3)) for order in orders)
found = []
for fill in (11, 22):
    filled = [torch.full((3,), fill) for _ in range(1000)]
    del filled  # its memory is used again
    try:
        found.append(invert_permutation(repeated).tolist())
    except (RuntimeError, ValueError) as error:
        print("rejected:", str(error).splitlines()[0])
        found.append(None)
print("expected: rejected; actual", found)
sys.exit(found != [None, None])
