"""Each form runs the operations that it names, and touches no memory of others."""

import numpy as np
import pytest
import torch

from bptt_oracle.optimizers.cases import draw, parse
from torch_impl.execution.path import WrongKernel
from torch_impl.optimizers import run as runs
from torch_impl.optimizers.run import COMPILED_FORMS, GRADIENTS, OUTSIDE, forms_of, run
from torch_impl.optimizers.table import OPTIMIZERS

PLAIN = ".plain.n3.generic.contiguous.contiguous.unit.s1"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_form_that_does_not_compile_runs_its_operations(name):
    problem = draw(parse(name + PLAIN), "float32")
    for form in forms_of(name):
        if form in COMPILED_FORMS:
            continue
        if form == "capturable":
            with pytest.raises(AssertionError, match="capturable"):
                run(problem, "float32", form)
            continue
        answer = run(problem, "float32", form)
        assert answer.kernel == ("loop" if form == "differentiable" else form)
        assert not any(answer.damaged.values())


def test_a_form_that_runs_another_is_reported(monkeypatch):
    problem = draw(parse("Adam" + PLAIN), "float32")
    for form, flags, ran in (
        ("fused", {"fused": False, "foreach": True}, "foreach"),
        ("foreach", {"foreach": False}, "loop"),
        ("loop", {"fused": True}, "fused"),
    ):
        monkeypatch.setitem(runs._FLAGS, form, flags)
        with pytest.raises(WrongKernel, match=f"{form} ran the {ran}"):
            run(problem, "float32", form)


def test_forms_that_torch_does_not_have_are_not_listed():
    for name, row in OPTIMIZERS.items():
        kind = getattr(torch.optim, name)
        leaf = torch.nn.Parameter(torch.zeros(2))
        if not row.fused:
            with pytest.raises((TypeError, RuntimeError)):
                kind([leaf], lr=0.1, fused=True)
        has = "capturable" in kind([leaf], lr=0.1).param_groups[0]
        assert has == ("capturable" in forms_of(name)), name


def test_torchs_defaults_are_the_plain_options():
    for name, row in OPTIMIZERS.items():
        group = getattr(torch.optim, name)([torch.nn.Parameter(torch.zeros(2))], lr=0.1)
        defaults = group.param_groups[0] | group.defaults
        for option, value in row.options["plain"].items():
            if option != "lr":
                assert defaults[option] == value, (name, option)


class Writes(torch.optim.SGD):
    """An optimiser that writes past the end of its parameters, and one into its gradients."""

    gradients = False

    def step(self, closure=None):
        super().step()
        for parameter in self.param_groups[0]["params"]:
            if self.gradients:
                parameter.grad.mul_(2)
            else:
                parameter.data.as_strided((parameter.numel() + 1,), (1,))[-1] = 5


@pytest.mark.parametrize("gradients", [False, True])
def test_a_write_outside_of_the_parameters_or_into_the_gradients_is_seen(monkeypatch, gradients):
    monkeypatch.setattr(torch.optim, "SGD", Writes)
    monkeypatch.setattr(Writes, "gradients", gradients)
    answer = run(draw(parse("SGD" + PLAIN), "float64"), "float64", "loop")
    assert answer.damaged == {OUTSIDE: not gradients, GRADIENTS: gradients}
    assert np.isfinite(answer.results["weight"]).all()
