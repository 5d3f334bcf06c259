"""Record the calls that a training loop or a generator makes of a model and of what is in it."""

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .values import state_tensors, tensors_in

RECURRENT = (nn.RNNBase, nn.RNNCellBase)


class Call(NamedTuple):
    """One call module(x, state, …) -> (output, state, …)."""

    x: Tensor  # a copy; of a PackedSequence, its rows
    entering: tuple[Tensor, ...]  # copies of all tensors of floating point but x
    made_by: tuple[Any, ...]  # the nodes of autograd that made them; None of a constant
    leaving: tuple[Tensor, ...]  # copies of all tensors of floating point, the output too
    nodes: frozenset[Any]  # of autograd, that the call made
    trains: bool  # in training mode, with a graph
    outer: int  # which call of the model this call is part of; of the model itself, its own number


@contextmanager
def record_calls(model: nn.Module) -> Iterator[dict[str, list[Call]]]:
    """Record the calls made inside the block of `model`, by the name "", and of the recurrent
    modules in it, by their names.

    Calls that a checkpoint makes again during a backward pass do not count. Compiled modules run
    without compilation, because compiled code calls no hooks.
    """
    modules = {"": model}
    modules |= {n: m for n, m in model.named_modules() if n and isinstance(m, RECURRENT)}
    calls: dict[str, list[Call]] = {name: [] for name in modules}
    counter = [0]

    def hook_of(name: str) -> Any:
        def record(
            module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
        ) -> None:
            if torch._C._current_graph_task_id() == -1:  # not in a backward pass
                calls[name].append(_call(module, args, kwargs, output, counter[0]))
            counter[0] += not name

        return record

    handles: list[RemovableHandle] = []
    with ExitStack() as stack:
        stack.enter_context(eager())
        for name, module in modules.items():
            handles.append(module.register_forward_hook(hook_of(name), with_kwargs=True))
            stack.callback(handles[-1].remove)
        yield calls


def eager() -> Any:
    """A context in which compiled modules run as they were written."""
    set_stance = getattr(torch.compiler, "set_stance", None)
    return set_stance("force_eager") if set_stance else nullcontext()


def _call(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, outer: int
) -> Call:
    x, *rest = arguments_in_order(module, args, kwargs)
    entering = state_tensors(rest)
    leaving = state_tensors(output)
    own_x = state_tensors(x)
    before = _reachable([t.grad_fn for t in (*entering, *own_x)])
    return Call(
        tensors_in(x)[0].detach().clone(),
        tuple(t.detach().clone() for t in entering),
        tuple(t.grad_fn for t in entering),
        tuple(t.detach().clone() for t in leaving),
        frozenset(_reachable([t.grad_fn for t in leaving]) - before),
        module.training and torch.is_grad_enabled(),
        outer,
    )


def arguments_in_order(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[Any]:
    """The arguments of a call in the order of the parameters of `forward`."""
    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        return [*args, *kwargs.values()]
    values: list[Any] = []
    for name, value in bound.items():
        kind = inspect.signature(module.forward).parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            values += value
        elif kind is inspect.Parameter.VAR_KEYWORD:
            values += value.values()
        else:
            values.append(value)
    return values


def is_attached(node: Any, earlier: frozenset[Any]) -> bool:
    """Whether a gradient would flow from a tensor made by this node into an earlier graph."""
    return node is not None and not earlier.isdisjoint(_reachable([node]))


def _reachable(nodes: list[Any]) -> set[Any]:
    """The nodes of autograd reached from these, without the leaves."""
    found: set[Any] = set()
    waiting = [node for node in nodes if node is not None]
    while waiting:
        node = waiting.pop()
        if node in found or type(node).__name__ == "AccumulateGrad":
            continue
        found.add(node)
        waiting += [to for to, _ in node.next_functions if to is not None]
    return found
