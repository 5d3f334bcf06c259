"""A function is called so that two calls can be compared, and nothing is left behind."""

import functools
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bptt_oracle.checklist.calls import Caller, fixed_seed, modules_of
from bptt_oracle.checklist.kept_state import kept_state
from support.calculus import rejects

X = torch.ones(2, 3)
GLOBAL = nn.Dropout(0.5)


class Holder:
    def __init__(self, module):
        self.module = module

    def run(self, x):
        return self.module(x)

    def __call__(self, x):
        return self.module(x)


def reads_a_global(x):
    return GLOBAL(x)


def makers():
    module = nn.Dropout(0.5)

    def closure(x):
        return module(x)

    def outer(x):
        return closure(x)

    def default(x, module=module):
        return module(x)

    holder = Holder(module)
    return module, {
        "itself": module,
        "closure": closure,
        "function in a closure": outer,
        "default": default,
        "partial": functools.partial(lambda m, x: m(x), module),
        "bound method": module.forward,
        "method of an object": holder.run,
        "callable object": holder,
        "object in a closure": lambda x: holder.run(x),
    }


@pytest.mark.parametrize("name", makers()[1])
def test_the_modules_of_a_function_are_found_and_evaluated(name):
    module, functions = makers()
    assert modules_of(functions[name]) == [module]
    assert torch.equal(Caller(functions[name])(X), X)
    assert module.training


def test_a_global_module_is_found():
    assert modules_of(reads_a_global) == [GLOBAL]


def test_random_results_are_rejected_and_so_are_results_that_follow_the_calls():
    Caller(nn.Dropout(0.5)).require_repeatable(X)
    noisy = Caller(lambda x: F.dropout(x, 0.5, training=True))
    rejects(ValueError, "eval()", noisy.require_repeatable, X)
    calls = []

    def counts(x):
        calls.append(x)
        return x * len(calls)

    rejects(ValueError, "a state is kept between calls", Caller(counts).require_repeatable, X)


def test_random_numbers_start_from_the_seed_and_go_on_as_before():
    def draw():
        return random.random(), np.random.rand(), float(torch.rand(()))

    for seed in (0, 1):
        with fixed_seed(seed):
            first = draw()
        with fixed_seed(seed):
            assert draw() == first
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = draw(), draw()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    between = draw()
    with fixed_seed():
        draw()
    assert (between, draw()) == expected


class Stateful(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(1))
        self.h = torch.zeros(2)
        self.pair = (torch.zeros(1), torch.zeros(1))
        self.history, self.by_name = [], {}

    def forward(self, x):
        self.count += 1
        self.h += 1
        self.pair = (self.pair[0] + 1, self.pair[1])
        self.pair[1].add_(1)
        self.history.append(x)
        self.by_name["x"] = x
        self.new = x
        return x


def test_a_state_that_a_module_keeps_is_put_back():
    module = Stateful()
    h, count = module.h, module.count
    with kept_state(module):
        module(X)
        assert module.count == 1 and len(module.history) == 1
    assert module.h is h and module.count is count
    assert not h.any() and not count.any() and not module.pair[0].any() and not module.pair[1].any()
    assert module.history == [] and module.by_name == {} and not hasattr(module, "new")


def test_the_weights_of_a_recurrent_net_stay_those_it_computes_with():
    net = nn.LSTM(3, 4)
    flat = list(net._flat_weights)
    with kept_state(net):
        net(torch.ones(2, 1, 3))
    assert all(a is b for a, b in zip(flat, net._flat_weights, strict=True))
    assert all(a is b for a, b in zip(flat, net.parameters(), strict=True))


def test_the_coarsest_type_is_noted():
    linear = nn.Linear(3, 3)

    def under_autocast(x):
        with torch.autocast("cpu", torch.bfloat16):
            return linear(x).float()

    for function, eps in ((linear, 2.0**-23), (under_autocast, 2.0**-7)):
        caller = Caller(function)
        assert caller(X).dtype == torch.float32
        assert caller.eps == eps


def test_noise_is_what_one_more_rounding_of_the_weights_changes_and_weights_are_put_back():
    linear = nn.Linear(3, 2)
    before = [p.detach().clone() for p in linear.parameters()]
    caller = Caller(linear)
    result = caller(X)
    assert 0 < caller.noise() < 16 * 4 * 2.0**-24 * 4
    assert all(torch.equal(p, b) for p, b in zip(linear.parameters(), before, strict=True))
    assert caller.disagreement(result + 1, result) > 0.99
    assert caller.disagreement(result, result) == 0
    steep = Caller(lambda x: 1e6 * linear(x))
    steep_result = steep(X)
    small = 1e-3 * steep_result.abs().max()
    assert steep.disagreement(steep_result + small, steep_result) > 0  # relative, it is the same


def test_a_difference_that_rounding_may_cause_is_rejected():
    weight = nn.Linear(1, 1, bias=False)
    nn.init.ones_(weight.weight)
    chaotic = Caller(lambda x: torch.sin(1e6 * weight(x)))
    result = chaotic(torch.ones(1, 1))
    rejects(ValueError, "rounding the weights once", chaotic.disagreement, result + 0.05, result)
