"""What workers are forked from imports this, and with it all that they will need.

Torch's first gradient imports its symbolic shapes, half a second's worth, and from 2.15 on a little
more. What has been imported is no garbage: not looked through again, neither in the workers nor
when this process ends.
"""

import gc

import torch.fx.experimental.symbolic_shapes
import torch.nested._internal.nested_tensor  # noqa: F401

gc.freeze()
