"""A recurrent net in a scripted module ignores a parameter that is assigned after scripting: the
attribute and state_dict are the new one, the forward pass computes with the old one.

Expected twice: tanh of the new weight by hand, and the same module without scripting.
"""

import math
import sys
import warnings

import torch

warnings.simplefilter("ignore")


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.RNN(1, 1, bias=False)

    def forward(self, x: torch.Tensor):
        return self.net(x)[0]


def assigned(model):
    model.net.weight_ih_l0 = torch.nn.Parameter(torch.full((1, 1), 0.5))
    assert model.state_dict()["net.weight_ih_l0"].item() == 0.5
    return model(torch.ones(1, 1, 1)).item()


torch.manual_seed(0)
model = Model()
with torch.no_grad():
    model.net.weight_ih_l0.fill_(-0.5)
scripted = torch.jit.script(model)
expected = math.tanh(0.5)
actual = assigned(scripted)
assert abs(assigned(model) - expected) < 1e-6
print("expected", expected, "actual", actual)
sys.exit(abs(actual - expected) > 1e-6)
