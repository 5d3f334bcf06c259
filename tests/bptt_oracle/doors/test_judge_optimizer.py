"""An optimiser of the caller's own, held against the equations of torch.optim."""

import re

import pytest
import torch

import bptt_oracle
from bptt_oracle.ledger.claims import ROOT
from torch_impl.optimizers.table import OPTIMIZERS

PAGE = ROOT / "docs" / "optimizers" / "optimizers.md"
KNOWN = {("NAdam", "float64"), ("ASGD", "float64")}  # numbers of torch's state in float32


class Adam:
    """Adam as the paper writes it; a mistake by its name."""

    def __init__(self, parameters, mistake=""):
        self.parameters, self.mistake, self.t = parameters, mistake, 0
        self.m = [torch.zeros_like(p) for p in parameters]
        self.v = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def step(self):
        self.t += 1
        t = self.t + (self.mistake == "correction one step late")
        for p, m, v in zip(self.parameters, self.m, self.v, strict=True):
            g = p.grad + 0.1 * p * (self.mistake == "weight decay")
            m.mul_(0.9).add_(g, alpha=0.1)
            v.mul_(0.999).addcmul_(g, g, value=0.001)
            mean, square = m / (1 - 0.9**t), v / (1 - 0.999**t)
            if self.mistake == "no correction":
                mean, square = m, v
            root = square.sqrt() + 1e-8
            if self.mistake == "eps inside of the root":
                root = (square + 1e-8).sqrt()
            p -= 0.1 * mean / root


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("algorithm", OPTIMIZERS)
def test_those_of_torch_agree_but_for_known_deviations(algorithm, dtype):
    options = OPTIMIZERS[algorithm].options["plain"]
    torchs = getattr(torch.optim, algorithm)
    found = bptt_oracle.judge_optimizer(
        lambda parameters: torchs(parameters, foreach=False, **options), algorithm, dtype=dtype
    )
    wrong = {name for name, R in found.R.items() if R > 16}
    if algorithm == "Rprop":  # the product of two small gradients is 0
        assert wrong <= {name for name in found.R if name.endswith("small")}
    elif (algorithm, dtype) in KNOWN:
        assert not found and wrong
    else:
        assert found and not wrong, str(found)


def test_options_are_those_of_both():
    options = {"lr": 0.02, "momentum": 0.8, "nesterov": True}
    sgd = lambda parameters: torch.optim.SGD(parameters, **options)  # noqa: E731
    assert bptt_oracle.judge_optimizer(sgd, "SGD", **options)
    assert not bptt_oracle.judge_optimizer(sgd, "SGD", **options | {"nesterov": False})


def test_a_right_one_agrees_and_says_so():
    found = bptt_oracle.judge_optimizer(Adam, "Adam")
    assert found.verdict == "agree"
    assert re.search(r"problems cannot decide in this dtype\nagree: the worst is \w+\[", str(found))


@pytest.mark.parametrize(
    "mistake",
    ["correction one step late", "no correction", "eps inside of the root", "weight decay"],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_wrong_one_is_a_fault(mistake, dtype):
    found = bptt_oracle.judge_optimizer(lambda p: Adam(p, mistake), "Adam", dtype=dtype)
    assert found.verdict == "fault" and found.R[found.worst] > 1000
    assert f"of {found.worst}; R above 16 is a fault" in str(found)


@pytest.mark.parametrize(
    "arguments, options, words",
    [
        ((Adam, "Lion"), {}, "'Lion' came; expected one of SGD, Adam, "),
        ((Adam, "Adam"), {"momentum": 0.9}, "Adam has no option 'momentum'; it has lr, betas, "),
        ((Adam, "Adam"), {"dtype": "int8"}, "dtype 'int8' came; expected one of float64, "),
        ((3, "Adam"), {}, "a int came; expected a function of the list of parameters"),
        ((len, "Adam"), {}, "make returned a int; expected an object with the method step()"),
    ],
)
def test_what_cannot_be_judged_is_one_sentence(arguments, options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        bptt_oracle.judge_optimizer(*arguments, **options)


def test_the_example_of_the_page_agrees(capsys):
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    exec(program, {})
    assert "\nagree: the worst is " in capsys.readouterr().out
