"""Imported by the process that workers are forked from: loads every module that a worker needs.

The first gradient in torch imports its symbolic shapes, which takes half a second, and from 2.15 on
also the nested tensors. `gc.freeze` exempts the imported modules from garbage collection, in the
workers and when this process ends.
"""

import gc

import torch.fx.experimental.symbolic_shapes
import torch.nested._internal.nested_tensor  # noqa: F401

gc.freeze()
