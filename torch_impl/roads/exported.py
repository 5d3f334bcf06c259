"""torch.export: nets exported with an example of other sizes, run as a module or by AOTInductor.

B is dynamic. torch iterates over the steps in Python, so that an export has the T of its example;
for GRU and LSTM it also has a while loop in place of that (`torch.export._patches`, for programs
that are not decomposed), with which T is dynamic too. Where T is fixed, a module rejects another T,
an AOTInductor package does not (`package_of_another_length` of the demonstrations).
"""

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from importlib.util import find_spec
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

_DENSE = torch.contiguous_format


def exported(call: Call) -> Prepared:
    """torch.export.export with B dynamic, and T where torch has a while loop of the cell; the
    program is called as a module."""
    loop = while_loop(call.net.mode)
    if loop is None:
        program = _export(call)
    else:
        with loop:
            program = _export(call, any_length=True)
    names = {str(node.target) for node in program.graph.nodes}
    operator = call.net.mode.lower()
    require(any(operator in name for name in names), f"the graph should call aten.{operator}")
    prepared = _as_module(program, call)
    if loop is None:
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


def while_loop(mode: str) -> AbstractContextManager[None] | None:
    """In which torch exports nets of a cell so that the steps are a while loop, GRU and LSTM; None
    if this torch has none of the cell."""
    if find_spec("torch.export._patches") is None:
        return None
    patches = import_module("torch.export._patches")
    name = f"register_{mode.lower()}_while_loop_decomposition"
    return _dispatched_anew(mode, getattr(patches, name)) if hasattr(patches, name) else None


@contextmanager
def _dispatched_anew(mode: str, register: Callable[[], AbstractContextManager[None]]) -> Any:
    """What `register` does, and nothing afterwards: torch keeps what it has dispatched to before,
    so that a loop has no effect after an export without it, and goes on after its own end."""
    forget_dispatch(mode)
    torch._dynamo.reset()  # which traces the loop, and would keep sizes of the export before
    try:
        with register():
            yield
    finally:
        forget_dispatch(mode)


def forget_dispatch(mode: str) -> None:
    """Let torch choose anew to what it dispatches a GRU or an LSTM in exports and compiled code."""
    if mode in ("GRU", "LSTM"):
        getattr(torch.ops.aten, mode.lower()).input._dispatch_cache.clear()


def _export(call: Call, any_length: bool = False) -> Any:
    """The net exported with an example of another B, which is dynamic, and with `any_length` of
    another T, which is too."""
    time, batch = axes(call)
    if any_length:
        # The while loop raises for a state of one row with other strides, so the example has none.
        example = tuple(v.clone(memory_format=_DENSE) for v in example_inputs(call))
    else:
        example = example_inputs(call, call.x.shape[time], exact_steps=True)
    any_size = torch.export.Dim.DYNAMIC
    sizes: list[dict[int, Any]] = [{} for _ in example]
    if batch is not None:
        sizes = [{batch if k == 0 else 1: any_size} for k in range(len(example))]
    if any_length:
        sizes[0][time] = any_size
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
    return without_dynamic_sizes() or not_packed(problem, dtype)


def not_packaged(problem: Problem, dtype: str) -> str:
    """Why a problem is not compiled ahead of time."""
    if not compiler():
        return "this machine has no C++ compiler"
    return without_dynamic_sizes() or small(problem, dtype)


def without_dynamic_sizes() -> str:
    """Why no net is exported by this torch for other sizes than those of the example."""
    if hasattr(torch.export.Dim, "DYNAMIC"):
        return ""
    return "this torch has no torch.export.Dim.DYNAMIC, for other sizes than those of the example"
