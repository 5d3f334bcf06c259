"""An AOTInductor package of nn.RNN exported with a dynamic number of steps and called with more
returns those of the example. Needs a C++ compiler.

Expected twice: the net itself, and the exported program called as a module, which raises for
another number of steps or returns all.
"""

import os
import sys
import tempfile
import warnings

import torch

if not hasattr(torch.export.Dim, "AUTO"):
    print("expected an input of any length; actual: this torch has no Dim.AUTO")
    sys.exit(0)
warnings.simplefilter("ignore")
folder = tempfile.TemporaryDirectory()
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", folder.name)  # compiled code goes with it
net, x = torch.nn.RNN(1, 1), torch.ones(6, 3, 1)
auto = torch.export.Dim.AUTO
with torch.no_grad():
    shapes = ({0: auto, 1: auto},)
    program = torch.export.export(net, (torch.ones(4, 2, 1),), dynamic_shapes=shapes)
    package = os.path.join(folder.name, "net.pt2")
    torch._inductor.aoti_compile_and_package(program, package_path=package)
    actual = torch._inductor.aoti_load_package(package)(x)[0]
    expected = net(x)[0]
    try:
        second = program.module()(x)[0].shape
        assert second == expected.shape
    except (RuntimeError, AssertionError) as error:
        second = f"{type(error).__name__}"
print("expected", tuple(expected.shape), "actual", tuple(actual.shape), "as a module:", second)
sys.exit(actual.shape != expected.shape)
