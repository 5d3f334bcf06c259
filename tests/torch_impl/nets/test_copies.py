"""Modules that were copied, saved and loaded, or moved: they compute with their own weights."""

import copy
import io
import pickle

import pytest
import torch

from bptt_oracle.cases.case import draw
from support.nn_modules import CASES, agrees, call, differs, halved, module_of


def deep_copied(module):
    return copy.deepcopy(module)


def copied_after_a_change(module):
    """Copied while the module still holds the list of its earlier weights."""
    for name, p in list(module.named_parameters()):
        module.register_parameter(name, torch.nn.Parameter(p.detach().clone()))
    return copy.deepcopy(module)


def saved(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def pickled(module):
    return pickle.loads(pickle.dumps(module))


def loaded_state(module):
    """A new module of the same options, with the saved and loaded state_dict."""
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    fresh = halved_copy(module)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    return fresh


def halved_copy(module):
    """A copy with other weights, which has been called."""
    other = copy.deepcopy(module)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(0.5)
        other(torch.zeros(2, 2, module.input_size))
    return other


def emptied(module):
    """On the meta device, then with uninitialised memory, then with the state loaded."""
    moved = copy.deepcopy(module).to("meta").to_empty(device="cpu")
    with torch.no_grad():
        for p in moved.parameters():
            p.fill_(float("nan"))
    moved.load_state_dict(module.state_dict())
    return moved


def converted(module):
    """To float64 and back, which is exact."""
    return copy.deepcopy(module).double().float()


def from_state(module, change):
    """A module from the state that `change` has made of a module's state, as unpickling does."""
    state = copy.deepcopy(module.__getstate__())
    change(state)
    loaded = type(module).__new__(type(module))
    loaded.__setstate__(state)
    return loaded


def saved_before_proj_size(module):
    """As saved before torch 1.8: without proj_size."""
    return from_state(module, lambda state: state.pop("proj_size"))


def saved_before_names(module):
    """As saved by early versions: all_weights has the parameters themselves, and no list has the
    names."""

    def change(state):
        for name in ("proj_size", "_flat_weights", "_flat_weights_names"):
            state.pop(name)
        parameters = state["_parameters"]
        state["all_weights"] = [
            [parameters[name] for name in names] for names in state.pop("_all_weights")
        ]

    return from_state(module, change)


COPIES = [
    deep_copied,
    copied_after_a_change,
    saved,
    pickled,
    loaded_state,
    emptied,
    converted,
    saved_before_proj_size,
    saved_before_names,
]


@pytest.mark.parametrize("copied", COPIES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_a_copy_computes_with_its_own_weights(case, copied):
    problem = draw(case)
    if case.P and copied in (saved_before_proj_size, saved_before_names):
        problem = draw(case._replace(P=0))  # a projection cannot be older than proj_size
    original = module_of(problem)
    call(original, problem)
    other = copied(original)
    agrees(call(other, problem), problem)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(0.5)
    changed = call(other, halved(problem))
    agrees(changed, halved(problem))
    differs(changed, problem)
    agrees(call(original, problem), problem)
