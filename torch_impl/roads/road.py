"""A road: how a net is made ready to be called, and for which problems. Helpers that roads share.

A road prepares a call: it builds a module with the call's parameters, changes the module or the
way in which it is called, and returns what computes the case (`Prepared`). Every road raises
WrongKernel if torch did not do what the road names.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ..execution.calls import Call, Evaluate, Forward, Prepared, Result, leaves_of
from ..execution.path import ANY, WrongKernel
from ..execution.problem import Problem
from ..execution.variants import evaluate
from ..nets.modules import call_module, new_module


def nothing_excluded(problem: Problem, dtype: str) -> str:
    """No problem is excluded."""
    return ""


class Road(NamedTuple):
    """One road; its path is called cpu- and the name."""

    name: str
    prepare: Callable[[Call], Prepared]
    what: str  # one line for the table of roads
    exclusion_reason: Callable[[Problem, str], str] = nothing_excluded
    constrain: Callable[[Problem], Problem] | None = None  # the problem whose truth is that of it
    not_returned: tuple[str, ...] = ()  # beginnings of the names of tensors that it does not return
    precision: str = ""  # of products, a key of UNIT_ROUNDOFF; empty: that of the dtype
    # It takes the cases whose seed is a multiple, because a case takes seconds. Odd: the corpus
    # takes turns among its rows, and only few of them have a GRU and an even seed.
    every: int = 1
    kernel: str = ANY
    dtypes: tuple[str, ...] = ("float32", "float64")
    package: str = ""  # that computes in the place of torch


def module_of(call: Call) -> Any:
    """torch.nn.RNN, GRU or LSTM with the call's parameters, in training mode."""
    module = new_module(call.net, call.params)
    module.__class__ = getattr(torch.nn, type(call.net).__name__)  # which can be saved by name
    return module.train(call.training)


def parameters_by_name(module: torch.nn.Module, call: Call) -> dict[str, torch.Tensor]:
    """The module's own parameters by the names and in the order of the call's."""
    return {name: getattr(module, name) for name in call.params}


def call_net(function: Callable[..., Any], call: Call) -> Result:
    """Call a function that has the arguments of a module on the call's input."""
    return call_module(function, call.net, call.x, call.lengths, call.enforce_sorted, call.state)


def forward_function(module: torch.nn.Module, call: Call) -> Callable[..., Any]:
    """The module, or a function that calls it with parameters of the call that are not its own."""
    if all(getattr(module, name) is p for name, p in call.params.items()):
        return module
    return lambda *inputs: torch.func.functional_call(
        module, call.params, inputs, tie_weights=False
    )


def forward_of_module(module: torch.nn.Module) -> Forward:
    """The Forward that calls a module; parameters that are not its own replace them."""
    return lambda call: call_net(forward_function(module, call), call)


def prepared_with(module: torch.nn.Module, call: Call, evaluate: Evaluate = evaluate) -> Prepared:
    """What calls a module and judges the gradients of its own parameters."""
    own = call._replace(params=parameters_by_name(module, call))
    return Prepared(forward_of_module(module), own, evaluate)


def require(holds: bool, message: str) -> None:
    """Raise WrongKernel with the message unless torch took the road."""
    if not holds:
        raise WrongKernel(message)


def warm_up(module: torch.nn.Module, call: Call) -> None:
    """Call the module once and take its gradient, as a net that has been in use."""
    output, _ = call_net(module, call)
    torch.autograd.grad(output.sum(), leaves_of(call), allow_unused=True)


def is_packed(problem: Problem) -> bool:
    """Whether the problem's input is packed."""
    return problem.lengths is not None
