"""Imported by the process that workers are forked from: loads every module that a worker needs.

The first gradient in torch imports its symbolic shapes, which takes half a second, and from 2.15 on
also the nested tensors. `gc.freeze` exempts the imported modules from garbage collection, in the
workers and when this process ends.

Python's standard error leads nowhere in this process and in the workers: their exceptions are sent
to the main process, which reports each in one sentence, and multiprocessing would print them first
with a traceback.
"""

import gc
import os
import sys
from contextlib import suppress

sys.stderr = open(os.devnull, "w")  # noqa: SIM115

with suppress(ImportError):  # implementations of other frameworks are judged without torch
    import torch.fx.experimental.symbolic_shapes
    import torch.nested._internal.nested_tensor  # noqa: F401

gc.freeze()
