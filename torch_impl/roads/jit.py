"""torch.jit: nets scripted, traced and frozen. The third call is judged, because torch replaces the
code of a script after it has seen the first calls.

A trace takes no packed data, because their sizes decide its control flow.
"""

from typing import Any

import torch

from ..execution.calls import Call, Prepared, Result
from ..execution.problem import Problem, is_tied
from ..execution.variants import evaluate_third
from .lowered import call_lowered, example_inputs, wrapped
from .road import module_of, require


def scripted(call: Call) -> Prepared:
    """torch.jit.script of a net that is a part of a module."""
    return _judged(_script(call), call)


def scripted_and_frozen(call: Call) -> Prepared:
    """The same in evaluation mode with torch.jit.freeze, which makes constants of the weights."""
    return _frozen(_script(call, training=False), call)


def traced(call: Call) -> Prepared:
    """torch.jit.trace with an example of other sizes."""
    return _judged(_trace(call), call)


def traced_and_frozen(call: Call) -> Prepared:
    """The same in evaluation mode with torch.jit.freeze."""
    return _frozen(_trace(call, training=False), call)


def not_packed(problem: Problem, dtype: str) -> str:
    """Why a problem with lengths cannot be traced or exported."""
    if problem.lengths is not None:
        return "a trace takes no packed data: their sizes decide its control flow"
    return ""


def not_traced(problem: Problem, dtype: str) -> str:
    """Why a problem cannot be traced."""
    if is_tied(problem):
        return "torch traces no tied parameters"
    return not_packed(problem, dtype)


def without_dropout(problem: Problem, dtype: str) -> str:
    """Why a problem with dropout has no frozen net."""
    return "torch freezes nets in evaluation mode only" if problem.net.dropout else ""


def neither(problem: Problem, dtype: str) -> str:
    """Why a problem has no frozen trace."""
    return not_traced(problem, dtype) or without_dropout(problem, dtype)


def _script(call: Call, training: bool = True) -> Any:
    return torch.jit.script(wrapped(module_of(call), call).train(training))


def _trace(call: Call, training: bool = True) -> Any:
    net = wrapped(module_of(call), call).train(training)
    return torch.jit.trace(net, example_inputs(call), check_trace=False)


def _frozen(lowered: Any, call: Call) -> Prepared:
    frozen = torch.jit.freeze(lowered)
    require(not list(frozen.parameters()), "a frozen net should have no parameters")
    return _prepared(frozen, call)


def _judged(lowered: Any, call: Call) -> Prepared:
    params = {name: getattr(lowered.net, name) for name in call.params}
    return _prepared(lowered, call._replace(params=params))


def _prepared(lowered: Any, call: Call) -> Prepared:
    require(isinstance(lowered, torch.jit.ScriptModule), "the net should be a script")
    operator = "aten::rnn_" if "RNN" in call.net.mode else f"aten::{call.net.mode.lower()}"
    require(operator in str(lowered.inlined_graph), f"the script should call {operator}")

    def forward(call: Call) -> Result:
        return call_lowered(lowered, call)

    return Prepared(forward, call, evaluate_third)
