"""torch.compile of whole nets: the recurrence becomes part of the graph (`allow_rnn`).

The backend aot_eager runs the graphs of forward and backward pass without generated code, inductor
generates C++. A dynamic net is called with another batch first.
"""

from typing import Any

import torch

from ..execution.backend import compiler, graph_nodes
from ..execution.calls import (
    Call,
    Cotangents,
    Evaluation,
    ForwardPass,
    Leaves,
    Prepared,
    Result,
    larger_call,
)
from ..execution.problem import Problem
from ..execution.variants import evaluate
from .lowered import call_lowered, wrapped
from .road import module_of, require

MOST_STEPS = 12  # of time, layers and directions together: each is a part of the graph


def compiled(call: Call, backend: str, dynamic: bool) -> Prepared:
    """The net compiled by a backend, for the shapes of the call or for any."""
    torch._dynamo.reset()
    module = module_of(call)
    function: Any = torch.compile(wrapped(module, call), backend=backend, dynamic=dynamic)

    def forward(call: Call) -> Result:
        with torch._dynamo.config.patch(allow_rnn=True):
            return call_lowered(function, call)

    if dynamic:
        forward(_other(call))
    return Prepared(forward, call, _evaluate_compiled)


def _other(call: Call) -> Call:
    """Another batch of the same layout, with as many steps."""
    larger = larger_call(call)._replace(lengths=None)
    time = 0 if call.x.dim() == 2 or not call.net.batch_first else 1
    return larger._replace(x=larger.x.narrow(time, 0, call.x.shape[time]).requires_grad_())


def _evaluate_compiled(
    forward_pass: ForwardPass, leaves: Leaves, cotangents: Cotangents
) -> Evaluation:
    outputs, grads = evaluate(forward_pass, leaves, cotangents)
    with_graph = [y for y in outputs if y.requires_grad]
    require(
        "CompiledFunctionBackward" in graph_nodes(with_graph),
        "the net should run compiled code, but the graph contains none",
    )
    return outputs, grads


def small(problem: Problem, dtype: str) -> str:
    """Why a problem is not compiled."""
    net = problem.net
    if problem.lengths is not None:
        return "the sizes of packed data are known only when the compiled code runs"
    if net.dropout:
        return "compiled code draws other masks"
    time = 1 if problem.x.ndim == 3 and net.batch_first else 0
    if problem.x.shape[time] * net.num_layers * net.directions > MOST_STEPS:
        return f"a graph of more than {MOST_STEPS} steps takes long to compile"
    return ""


def small_for_inductor(problem: Problem, dtype: str) -> str:
    """Why a problem is not compiled by inductor."""
    return small(problem, dtype) if compiler() else "this machine has no C++ compiler"
