"""Inside of one torch.autocast a net goes on with the weights of its first call: parameters that
change in place, by an optimiser for example, have no effect until the block ends.

Expected twice: tanh of the new weights by hand, and the same calls with cache_enabled=False.
"""

import math
import sys

import torch


def second_call(**options):
    net, x = torch.nn.RNN(1, 1, bias=False), torch.ones(1, 1, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16, **options):
        for weight in (0.25, 1.0):
            with torch.no_grad():
                net.weight_ih_l0.fill_(weight)
            output, _ = net(x)
    return output.item()


expected = math.tanh(1.0)
assert abs(second_call(cache_enabled=False) - expected) < 2**-8
actual = second_call()
print("expected", expected, "actual", actual, "which is tanh of the old weight", math.tanh(0.25))
sys.exit(abs(actual - expected) > 0.1)
