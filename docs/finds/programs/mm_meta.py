"""torch.mm of a tensor on the CPU and one on the device meta returns memory that nobody wrote.

Expected twice: torch.add of the same tensors rejects two devices, and so does mm with the two in
the other order, or its result is on meta.
"""

import sys

import torch

cpu, meta = torch.ones(2, 2), torch.ones(2, 2, device="meta")
try:
    torch.add(cpu, meta)
    raise AssertionError
except RuntimeError:
    pass
try:
    actual = torch.mm(cpu, meta)
except (RuntimeError, NotImplementedError) as error:
    print("rejected:", str(error).splitlines()[0])
    sys.exit(0)
print("expected: rejected; actual", actual)
sys.exit(actual.device.type != "meta")
