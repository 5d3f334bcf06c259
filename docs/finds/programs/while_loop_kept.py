"""An export of nn.GRU within torch's while loop, which has any number of steps, depends on earlier
exports: after one without the loop it raises.

Expected three times: the same export in a new process, the net itself, and a loop of the documented
equations.
"""

import json
import math
import subprocess
import sys
import warnings

import torch

try:
    from torch.export._patches import register_gru_while_loop_decomposition
except ImportError:
    print("expected a while loop of GRU; actual: this torch has none")
    sys.exit(0)
warnings.simplefilter("ignore")
net, example, x = torch.nn.GRU(1, 1), torch.ones(4, 2, 1), torch.ones(6, 1, 1)
with torch.no_grad():
    for p in net.parameters():
        p.fill_(0.5)


def of_any_length():
    any_size = torch.export.Dim.DYNAMIC
    sizes = ({0: any_size, 1: any_size},)
    with register_gru_while_loop_decomposition():
        program = torch.export.export(net, (example,), dynamic_shapes=sizes)
    return program.module()(x)[0].flatten().tolist()


if sys.argv[1:] == ["new"]:
    print(json.dumps(of_any_length()))
    sys.exit(0)
torch.export.export(net, (example,))  # without the loop
command = [sys.executable, __file__, "new"]
expected = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
h = 0.0
for output, of_net in zip(expected, net(x)[0].flatten().tolist(), strict=True):
    r = z = 1 / (1 + math.exp(-(0.5 + 0.5 + 0.5 * h + 0.5)))
    n = math.tanh(0.5 + 0.5 + r * (0.5 * h + 0.5))
    h = (1 - z) * n + z * h
    assert abs(output - h) < 1e-5 and abs(of_net - h) < 1e-5
try:
    actual = of_any_length()
except Exception as error:
    print("expected", expected, "actual:", type(error).__name__, str(error).splitlines()[0])
    sys.exit(1)
print("expected", expected, "actual", actual)
sys.exit(max(abs(a - e) for a, e in zip(actual, expected, strict=True)) > 1e-5)
