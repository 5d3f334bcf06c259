"""fused=True on the CPU writes outside of a parameter that is a slice.

The parameter is the first two columns of a matrix of four. Exits with 1 while the mistake exists.
"""

import sys

import torch

buffer = torch.zeros(3, 4)
parameter = torch.nn.Parameter(buffer[:, :2])
parameter.grad = torch.ones(3, 2)
torch.optim.Adam([parameter], lr=0.1, fused=True).step()
print(buffer)  # columns 0 and 1 should be -0.1, columns 2 and 3 should be 0
sys.exit(not torch.equal(buffer[:, 2:], torch.zeros(3, 2)))
