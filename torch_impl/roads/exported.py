"""torch.export: nets exported with an example of another B, run as a module or by AOTInductor.

An export has the T of its example, because the number of steps decides the control flow; a module
rejects another T, an AOTInductor package does not (`package_of_another_length` of the
demonstrations).
"""

import tempfile
from pathlib import Path
from typing import Any

import torch

from ..execution.backend import compiler
from ..execution.calls import (
    Call,
    Cotangents,
    Derivatives,
    ForwardPass,
    Leaves,
    Prepared,
    Result,
    axes,
    larger_call,
)
from ..execution.problem import Problem
from ..execution.variants import evaluate
from .compiled import small
from .jit import not_packed
from .lowered import call_lowered, example_inputs, wrapped
from .road import module_of, require


def exported(call: Call) -> Prepared:
    """torch.export.export with B dynamic; the program is called as a module."""
    program = _export(call)
    names = {str(node.target) for node in program.graph.nodes}
    operator = call.net.mode.lower()
    require(any(operator in name for name in names), f"the graph should call aten.{operator}")
    prepared = _as_module(program, call)
    _require_its_length(prepared, call)
    return prepared


def decomposed(call: Call) -> Prepared:
    """The same with the recurrence decomposed into products, sums and activations, for one T."""
    program = _export(call).run_decompositions()
    names = {str(node.target) for node in program.graph.nodes}
    operator = call.net.mode.lower()
    require(not any(operator in name for name in names), f"aten.{operator} should be decomposed")
    return _as_module(program, call)


def packaged(call: Call) -> Prepared:
    """An AOTInductor package, for one T, called at another B; it computes values only."""
    program = _export(call)
    with tempfile.TemporaryDirectory() as folder:
        file = torch._inductor.aoti_compile_and_package(
            program, package_path=str(Path(folder) / "net.pt2")
        )
        package = torch._inductor.aoti_load_package(file)
    return Prepared(_forward_of(package), call, evaluate_values)


def _export(call: Call) -> Any:
    """The net exported with an example of another B, which is dynamic."""
    time, batch = axes(call)
    example = example_inputs(call, call.x.shape[time], exact_steps=True)
    any_size = torch.export.Dim.DYNAMIC
    sizes: list[dict[int, Any]] = [{} for _ in example]
    if batch is not None:
        sizes = [{batch if k == 0 else 1: any_size} for k in range(len(example))]
    net = wrapped(module_of(call), call)
    return torch.export.export(net, example, dynamic_shapes=tuple(sizes))


def _require_its_length(prepared: Prepared, call: Call) -> None:
    """Raise WrongKernel if the program accepts one step more than it has."""
    try:
        prepared.forward(larger_call(call)._replace(lengths=None))
    except Exception:  # a guard
        return
    require(False, "the exported program should reject another number of steps")


def _as_module(program: Any, call: Call) -> Prepared:
    module = program.module()
    own = dict(module.named_parameters(remove_duplicate=False))
    params = {name: own[f"net.{name}"] for name in call.params}
    return Prepared(_forward_of(module), call._replace(params=params), evaluate)


def _forward_of(function: Any) -> Any:
    def forward(call: Call) -> Result:
        return call_lowered(function, call)

    return forward


def evaluate_values(
    forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents
) -> Derivatives:
    """Outputs only."""
    with torch.no_grad():
        return Derivatives(forward_pass())


def not_exported(problem: Problem, dtype: str) -> str:
    """Why a problem is not exported."""
    if problem.net.dropout:
        return "the exported program draws other masks"
    return not_packed(problem, dtype)


def not_packaged(problem: Problem, dtype: str) -> str:
    """Why a problem is not compiled ahead of time."""
    return small(problem, dtype) if compiler() else "this machine has no C++ compiler"
