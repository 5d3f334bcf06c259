"""Nets whose recurrent weights are computed from other parameters: weight norm, parametrizations.

The truth is that of the net with the weight computed in float64. The gradients of the parameters
behind the weight follow by the chain rule, and may err by what an error of R = LIMIT in the
weight's gradient becomes.
"""

import numpy as np
import pytest
import torch
from torch.nn.utils import parametrizations, parametrize

from bptt_oracle.cases.case import draw
from bptt_oracle.judging.judge import LIMIT
from bptt_oracle.judging.truth import expect
from support.nn_modules import (
    CASES,
    agrees,
    backward,
    call,
    differs,
    module_of,
    values_of,
)
from torch_impl.execution.precision import UNIT_ROUNDOFF

WEIGHT = "weight_hh_l1"
each_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)


class Old:
    """torch.nn.utils.weight_norm: a hook computes the weight before each call."""

    names = (f"{WEIGHT}_g", f"{WEIGHT}_v")

    @staticmethod
    def add(module):
        torch.nn.utils.weight_norm(module, WEIGHT)

    @staticmethod
    def remove(module):
        torch.nn.utils.remove_weight_norm(module, WEIGHT)


class New:
    """torch.nn.utils.parametrizations.weight_norm: the weight is a property."""

    names = tuple(f"parametrizations.{WEIGHT}.original{k}" for k in (0, 1))

    @staticmethod
    def add(module):
        parametrizations.weight_norm(module, WEIGHT)

    @staticmethod
    def remove(module):
        parametrize.remove_parametrizations(module, WEIGHT)


APIS = [
    pytest.param(Old, marks=pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")),
    New,
]


def weight_norm(g, v):
    """w = g v / ‖v‖, each row with a g [·, 1] of its own."""
    return g * v / np.linalg.norm(v, axis=1, keepdims=True)


def normed(module, names, problem):
    """g and v of a module, and the problem with the weight that they make."""
    g, v = (values_of(module.get_parameter(name)) for name in names)
    return g, v, problem._replace(params=problem.params | {WEIGHT: weight_norm(g, v)})


def judge_normed(module, names, problem):
    """Assert that values and all gradients are those of the weight g v / ‖v‖."""
    g, v, problem = normed(module, names, problem)
    module.zero_grad()
    agrees(call(module, problem, leaves={}), problem)
    backward(module, problem)
    plain = {n: p.grad.numpy() for n, p in module.named_parameters() if n in problem.params}
    assert len(plain) == len(problem.params) - 1
    agrees({f"d_{name}": d for name, d in plain.items()}, problem)
    expected = expect(problem, "float32")
    d_w, noise = (
        np.asarray(a, float)
        for a in (expected.truth[f"d_{WEIGHT}"], expected.elements[f"d_{WEIGHT}"].sizes)
    )
    # d_g = Σ d_w v̂ and d_v = (g / ‖v‖)(d_w − d_g v̂), where v̂ = v / ‖v‖
    norm = np.linalg.norm(v, axis=1, keepdims=True)
    unit, scale = v / norm, np.abs(g) / norm
    d_g = (d_w * unit).sum(axis=1, keepdims=True)
    d_v = g / norm * (d_w - d_g * unit)
    u = UNIT_ROUNDOFF["float32"]
    noise = noise + u * np.abs(d_w)
    g_noise = (noise * np.abs(unit)).sum(axis=1, keepdims=True)
    v_noise = scale * (noise + g_noise * np.abs(unit))
    for name, d, limit in zip(names, (d_g, d_v), (g_noise, v_noise), strict=True):
        error = np.abs(values_of(module.get_parameter(name).grad) - d)
        assert (error <= LIMIT * limit).all(), (name, (error / limit).max())
        assert (np.abs(d) > 100 * LIMIT * limit).mean() > 0.5, "zeros would pass too"


@pytest.mark.parametrize("api", APIS)
@each_case
def test_weight_norm_added_trained_moved_and_removed(case, api):
    problem = draw(case)
    module = module_of(problem)
    agrees(call(module, problem), problem)
    api.add(module)
    judge_normed(module, api.names, problem)
    with torch.no_grad():  # as a step of an optimiser
        module.get_parameter(api.names[0]).mul_(1.5)
        module.get_parameter(api.names[1]).mul_(-0.75)
    judge_normed(module, api.names, problem)
    differs(call(module, problem, leaves={}), problem)
    module = module.to("cpu").double().float()  # which replaces the parameters
    judge_normed(module, api.names, problem)
    *_, final = normed(module, api.names, problem)
    api.remove(module)
    assert {name for name, _ in module.named_parameters()} == problem.params.keys()
    results = call(module, final)
    agrees(results, final)
    differs(results, problem)


class Doubled(torch.nn.Module):
    """2θ, whose rounding and whose gradient are exact."""

    def forward(self, theta):
        return 2 * theta

    def right_inverse(self, weight):
        return weight / 2


@each_case
def test_every_parameter_parametrized_and_restored(case):
    problem = draw(case)
    module = module_of(problem)
    call(module, problem)
    for name in problem.params:
        parametrize.register_parametrization(module, name, Doubled())
    originals = {name: module.parametrizations[name].original for name in problem.params}

    def results_of(problem):
        results = call(module, problem, leaves=originals)
        return {
            name: d / 2 if name.removeprefix("d_") in originals else d
            for name, d in results.items()
        }

    agrees(results_of(problem), problem)
    with parametrize.cached():
        agrees(results_of(problem), problem)
    with torch.no_grad():
        for theta in originals.values():
            theta.mul_(0.5)
    half = problem._replace(params={name: p / 2 for name, p in problem.params.items()})
    results = results_of(half)
    agrees(results, half)
    differs(results, problem)
    for name in problem.params:
        parametrize.remove_parametrizations(module, name, leave_parametrized=name != WEIGHT)
    left = half._replace(params=half.params | {WEIGHT: half.params[WEIGHT] / 2})  # θ, not 2θ
    results = call(module, left)
    agrees(results, left)
    differs(results, half)
