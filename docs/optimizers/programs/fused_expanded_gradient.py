"""fused=True on the CPU reads past the end of a gradient of stride 0.

autograd.grad returns one for a sum. It holds one number; what follows in memory is taken for the
others, here NaN. Exits with 1 while the mistake exists.
"""

import sys

import torch

parameter = torch.nn.Parameter(torch.zeros(5))
(gradient,) = torch.autograd.grad(parameter.sum(), parameter)
print("strides of the gradient:", gradient.stride())
buffer = torch.tensor([1.0, *[torch.nan] * 20])
parameter.grad = buffer[:1].expand(5)
torch.optim.SGD([parameter], lr=0.1, fused=True).step()
print(parameter.data)  # should be -0.1
sys.exit(not torch.allclose(parameter.data, torch.tensor(-0.1)))
