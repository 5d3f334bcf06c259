"""An AOTInductor package of nn.RNN, called with an input that is not contiguous, reads it as if it
had the strides of the example. Needs a C++ compiler.

Expected three times: the net itself, the same package at a contiguous copy of the input, and a loop
of products.
"""

import os
import sys
import tempfile
import warnings

import torch

if not hasattr(torch._inductor, "aoti_compile_and_package"):
    print("expected a package; actual: this torch makes none")
    sys.exit(0)
warnings.simplefilter("ignore")
folder = tempfile.TemporaryDirectory()
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", folder.name)  # compiled code goes with it
net = torch.nn.RNN(1, 1)
x = torch.arange(6.0).reshape(2, 3, 1).transpose(0, 1)  # 3 steps of 2 rows
with torch.no_grad():
    for p in net.parameters():
        p.fill_(0.125)
    program = torch.export.export(net, (torch.ones(3, 2, 1),))
    package = os.path.join(folder.name, "net.pt2")
    torch._inductor.aoti_compile_and_package(program, package_path=package)
    compiled = torch._inductor.aoti_load_package(package)
    expected, h = net(x)[0], torch.zeros(2, 1)
    for step in x:
        h = torch.tanh(0.125 * step + 0.125 + 0.125 * h + 0.125)
    assert torch.allclose(expected[-1], h)
    assert torch.allclose(compiled(x.contiguous())[0], expected)
    try:
        actual = compiled(x)[0]
    except RuntimeError as error:  # it is rejected
        print("expected", h.flatten().tolist(), "actual: rejected,", str(error)[:90])
        sys.exit(0)
print("expected", h.flatten().tolist(), "actual", actual[-1].flatten().tolist())
sys.exit(not torch.allclose(actual, expected))
