"""The implementation's `module`: a class with the constructor and the parameters of nn.LSTM."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from torch_impl.execution.calls import Call, Forward, Result
from torch_impl.execution.path import ANY, Path
from torch_impl.execution.problem import Problem
from torch_impl.execution.run import run
from torch_impl.nets.modules import call_module

from .implementation import Answer, Implementation

DEFAULTS: dict[str, Any] = {
    "num_layers": 1,
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
    "proj_size": 0,
}


def run_module(implementation: Implementation, problem: Problem, dtype: str) -> Answer:
    """The results of the module on its device, through autograd. Raises what the module raises, and
    ValueError if its parameters are not those of torch's module."""
    path = Path(implementation.name, implementation.device, "module", ANY)

    def forward_of_module(forward: Forward) -> Forward:
        return partial(_forward, implementation.module)

    outcome = run(path, problem, dtype, (), forward_of_module)
    return Answer(outcome.results, outcome.kernel)


def _forward(module_class: Any, call: Call) -> Result:
    """A new module of the class with the call's parameters, called once."""
    module = new_module(module_class, call.net)
    module.to(device=call.x.device, dtype=call.x.dtype)
    own = {name: tuple(p.shape) for name, p in module.named_parameters(remove_duplicate=False)}
    expected = {name: tuple(p.shape) for name, p in call.params.items()}
    if own != expected:
        raise ValueError(
            f"{type(module).__name__} has the parameters {own}; expected torch's, {expected}; "
            "for other names or shapes describe it by `net` or `layer`"
        )
    for name, p in call.params.items():
        setattr(module, name, p)
    if isinstance(module, torch.nn.RNNBase):
        module.flatten_parameters()
    return call_module(module, call.net, call.x, call.lengths, call.enforce_sorted, call.state)


def new_module(module_class: Callable[..., Any], net: Any) -> torch.nn.Module:
    """The class called with the net's sizes and those options that differ from torch's defaults."""
    values = {name: getattr(net, name, None) for name in DEFAULTS}  # a GRU has no proj_size
    options = {n: v for n, v in values.items() if v is not None and v != DEFAULTS[n]}
    if net.mode == "RNN_RELU":
        options["nonlinearity"] = "relu"
    module: torch.nn.Module = module_class(net.input_size, net.hidden_size, **options)
    return module
