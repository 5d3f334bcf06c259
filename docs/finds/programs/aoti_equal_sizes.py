"""An AOTInductor package of a net with batch_first, exported for a batch of any size, whose example
has as many rows as steps, returns as many rows as steps for every batch. Needs a C++ compiler.

Expected three times: the net itself, the exported program called as a module, and a loop of
products.
"""

import os
import sys
import tempfile
import warnings

import torch

if not hasattr(torch.export.Dim, "DYNAMIC"):
    print("expected a package for a batch of any size; actual: this torch has no Dim.DYNAMIC")
    sys.exit(0)
warnings.simplefilter("ignore")
folder = tempfile.TemporaryDirectory()
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", folder.name)  # compiled code goes with it
net, x = torch.nn.RNN(1, 1, batch_first=True), torch.ones(5, 2, 1)
with torch.no_grad():
    for p in net.parameters():
        p.fill_(0.5)
    sizes = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(net, (torch.ones(2, 2, 1),), dynamic_shapes=sizes)
    package = os.path.join(folder.name, "net.pt2")
    torch._inductor.aoti_compile_and_package(program, package_path=package)
    actual = torch._inductor.aoti_load_package(package)(x)[0]
    expected = net(x)[0]
    assert torch.allclose(program.module()(x)[0], expected)
h = torch.zeros(5, 1)
for step in x.unbind(1):
    h = torch.tanh(0.5 * step + 0.5 + 0.5 * h + 0.5)
assert torch.allclose(expected[:, -1], h)
print("expected", tuple(expected.shape), "actual", tuple(actual.shape))
sys.exit(actual.shape != expected.shape)
