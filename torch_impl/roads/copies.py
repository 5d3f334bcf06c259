"""Modules that were copied, or saved and loaded, after a call.

Each road then fills the weights of the first module with NaN, so that a copy that still reads them
shows it, and checks that the copy has weights of its own.
"""

import copy
import io
from typing import Any

import torch

from ..execution.calls import Call, Prepared
from ..nets.modules import new_module
from .road import module_of, parameters_by_name, prepared_with, require, warm_up


def deep_copied(call: Call) -> Prepared:
    """copy.deepcopy of a module that has been called."""
    module = module_of(call)
    warm_up(module, call)
    return _instead_of(module, copy.deepcopy(module), call)


def saved_and_loaded(call: Call) -> Prepared:
    """torch.save and torch.load of a whole module that has been called."""
    module = module_of(call)
    warm_up(module, call)
    return _instead_of(module, _through_a_file(module, weights_only=False), call)


def state_loaded(call: Call) -> Prepared:
    """A module that was called with weights of 0 and then loads the saved weights of another."""
    module = module_of(call)
    zeros = {id(p): torch.nn.Parameter(torch.zeros_like(p)) for p in call.params.values()}
    fresh = new_module(call.net, {name: zeros[id(p)] for name, p in call.params.items()})
    warm_up(fresh, call._replace(params=parameters_by_name(fresh, call)))
    fresh.load_state_dict(_through_a_file(module.state_dict(), weights_only=True))
    return _instead_of(module, fresh, call)


def _through_a_file(value: Any, weights_only: bool) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=weights_only)


def _instead_of(original: torch.nn.Module, other: torch.nn.Module, call: Call) -> Prepared:
    """The road of the copy, after the weights of the original became NaN."""
    before = parameters_by_name(original, call)
    after = parameters_by_name(other, call)
    pairs = zip(before.values(), after.values(), strict=True)
    require(
        all(a.data_ptr() != b.data_ptr() for a, b in pairs),
        "the copy of a net must have weights of its own, but it shares those of the first",
    )
    with torch.no_grad():
        for p in before.values():
            p.fill_(float("nan"))
    return prepared_with(other, call)
