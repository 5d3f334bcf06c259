"""Nets whose weights are held in other ways than a new module holds them."""

import numpy as np
import pytest
import torch

from bptt_oracle.cases.case import draw
from support.drawn_cases import pinned
from support.nn_modules import (
    CASES,
    agrees,
    backward,
    call,
    differs,
    halved,
    module_of,
    tensor_of,
    values_of,
)

each_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)


def set_each(module, weights):
    """Every parameter gets a storage of its own by `set_`."""
    with torch.no_grad():
        for name, value in weights.items():
            getattr(module, name).set_(value)


def set_slices(module, weights):
    """Every parameter becomes a slice of one chunk, in reverse order, with NaN between them."""
    gap = torch.full((3,), float("nan"))
    names = list(weights)[::-1]
    chunk = torch.cat([torch.cat([gap, weights[name].flatten()]) for name in names])
    start = 0
    with torch.no_grad():
        for name in names:
            size = weights[name].numel()
            start += 3
            view = chunk[start : start + size].view(weights[name].shape)
            getattr(module, name).set_(view)
            start += size


def assign_data(module, weights):
    """Every parameter's `data` is replaced."""
    for name, value in weights.items():
        getattr(module, name).data = value


def delete_and_put_back(module, weights):
    """Every parameter is deleted, and registered again in another order."""
    for name in weights:
        delattr(module, name)
        assert not hasattr(module, name)
    for name in sorted(weights):
        setattr(module, name, torch.nn.Parameter(weights[name]))


def delete_and_put_tensors(module, weights):
    """Every parameter is deleted and a plain tensor takes its place, as weight dropout does."""
    for name, value in weights.items():
        delattr(module, name)
        setattr(module, name, value.requires_grad_())


def move_without_one(module, weights):
    """The module changes its type while one parameter is missing."""
    first, *rest = weights
    delattr(module, first)
    module.double()
    setattr(module, first, torch.nn.Parameter(weights[first].double()))
    module.float()
    set_each(module, {name: weights[name] for name in rest})


def load_state_dict(module, weights):
    """Copied in place from a state_dict."""
    module.load_state_dict(weights)


def assign_state_dict(module, weights):
    """The tensors of a state_dict become the parameters."""
    module.load_state_dict(weights, assign=True)


def not_contiguous(module, weights):
    """Every matrix is transposed in memory, and NaN lies between the elements."""
    for name, value in weights.items():
        wide = torch.stack([torch.full_like(value, float("nan")), value], -1)
        if value.dim() == 2:
            wide = wide.transpose(0, 1).contiguous().transpose(0, 1)
        strided = wide[..., 1]
        assert not strided.is_contiguous()
        setattr(module, name, torch.nn.Parameter(strided))


WAYS = [
    set_each,
    set_slices,
    assign_data,
    delete_and_put_back,
    delete_and_put_tensors,
    move_without_one,
    load_state_dict,
    assign_state_dict,
    not_contiguous,
]


@pytest.mark.parametrize("give", WAYS, ids=lambda f: f.__name__)
@each_case
def test_a_net_that_was_called_computes_with_the_weights_that_it_is_then_given(case, give):
    problem = draw(case)
    earlier = halved(problem)
    module = module_of(earlier)
    agrees(call(module, earlier), earlier)
    give(module, {name: tensor_of(p) for name, p in problem.params.items()})
    results = call(module, problem)
    agrees(results, problem)
    differs(results, earlier)


@each_case
def test_weights_changed_in_place_after_a_call_are_used(case):
    problem = draw(case)
    module = module_of(problem)
    call(module, problem)
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(0.5)
    results = call(module, halved(problem))
    agrees(results, halved(problem))
    differs(results, problem)


def tied_across_directions(problem):
    """The problem whose reverse directions have the parameters of the forward ones."""
    names = problem.params
    return problem._replace(
        params={name: names[name.removesuffix("_reverse")] for name in problem.params}
    )


TIED = [
    pinned(bidirectional=True),
    pinned(bidirectional=True, layout="packed", lengths=(2, 5, 1)),
    pinned(cell="GRU", bidirectional=True, cotangents=("output", "h_n")),
    pinned(cell="RNN_RELU", bidirectional=True, cotangents=("output", "h_n")),
]


@pytest.mark.parametrize("case", TIED, ids=lambda c: c.id)
def test_directions_that_share_their_weights_share_them_after_a_step(case):
    """The gradient of a shared parameter is the sum over both directions, and one step of an
    optimiser moves both directions alike."""
    problem = tied_across_directions(draw(case))
    module = module_of(problem)
    assert len(list(module.parameters())) * 2 == len(problem.params)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    backward(module, problem)
    grads = {name: p.grad.numpy() for name, p in module.named_parameters()}
    agrees({f"d_{name}": d for name, d in grads.items()}, problem)
    before = {name: p.detach().numpy().copy() for name, p in module.named_parameters()}
    optimizer.step()
    for name, p in module.named_parameters():  # lr · d is exact, so that p has one rounding
        assert np.array_equal(p.detach().numpy(), before[name] - np.float32(0.5) * grads[name])
    for name in problem.params:
        assert getattr(module, name) is getattr(module, name.removesuffix("_reverse"))
    moved = {id(problem.params[name]): values_of(p) for name, p in module.named_parameters()}
    after = problem._replace(params={name: moved[id(p)] for name, p in problem.params.items()})
    results = call(module, after)
    agrees(results, after)
    differs(results, problem)
    only_forward = {
        name: p if name.endswith("_reverse") else after.params[name]
        for name, p in problem.params.items()
    }
    differs(results, after._replace(params=only_forward))


@pytest.mark.slow
def test_weights_that_another_process_changes_in_shared_memory_are_used():
    problem = draw(CASES[0])
    module = module_of(problem)
    call(module, problem)
    module.share_memory()
    assert all(p.is_shared() for p in module.parameters())
    agrees(call(module, problem), problem)
    weights = [p.detach() for p in module.parameters()]
    process = torch.multiprocessing.get_context("spawn").Process(
        target=torch._foreach_mul_, args=(weights, 0.5)
    )
    process.start()
    process.join()
    assert process.exitcode == 0
    results = call(module, halved(problem))
    agrees(results, halved(problem))
    differs(results, problem)
