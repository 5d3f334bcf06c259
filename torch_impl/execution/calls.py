"""A problem as tensors, and the ways to call it: torch.nn's module, a loop of cells, by hand.

A way is a function from a Call to the padded output and the final states. The module's keeps the
one module it has made, so that its second call is one of a module that has been called before.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from ..nets.modules import call_module, loop_of_cells, manual_stack, new_module
from .problem import Problem

Result = tuple[torch.Tensor, Sequence[torch.Tensor]]


class Call(NamedTuple):
    """What goes in; dropout masks are [T, B, ·] and scaled by 1 / (1 − p)."""

    net: Any
    params: dict[str, torch.Tensor]
    x: torch.Tensor
    lengths: tuple[int, ...] | None
    enforce_sorted: bool
    state: list[torch.Tensor] | None
    masks: list[torch.Tensor]
    training: bool = True


Forward = Callable[[Call], Result]


def call_of(
    problem: Problem, tensor: Callable[..., torch.Tensor], masks: Sequence[np.ndarray]
) -> Call:
    """The problem's arrays as leaves of a graph, made by `tensor(array, strided)`.

    One array under two names of `params` becomes one parameter.
    """
    shared = {id(p): torch.nn.Parameter(tensor(p)) for p in problem.params.values()}
    kept = 1 / (1 - problem.net.dropout) if problem.net.dropout < 1 else 0.0
    given, strided = problem.state, problem.strided
    return Call(
        problem.net,
        {name: shared[id(p)] for name, p in problem.params.items()},
        tensor(problem.x, strided).requires_grad_(),
        problem.lengths,
        problem.enforce_sorted,
        None if given is None else [tensor(s, strided).requires_grad_() for s in given],
        [tensor(time_major(problem, mask)) * kept for mask in masks],
    )


def forward_of(kind: str) -> Forward:
    """The way of that kind: module, cells or manual."""
    if kind == "module":
        return partial(_module, {})
    written_out = loop_of_cells if kind == "cells" else manual_stack
    return lambda c: written_out(c.net, c.params, c.x, c.lengths, c.masks, c.state)


def _module(made: dict[str, torch.nn.Module], c: Call) -> Result:
    """nn.RNN, GRU or LSTM, made at the first call; tensors that are no parameters of their own,
    but computed from some, reach it by functional_call."""
    module = made.get("module") or made.setdefault("module", new_module(c.net, {}))
    module.train(c.training)
    called: Callable[..., Any] = module
    if all(isinstance(p, torch.nn.Parameter) for p in c.params.values()):
        for name, p in c.params.items():
            setattr(module, name, p)
        module.flatten_parameters()  # type: ignore[operator]
    else:
        called = lambda *inputs: torch.func.functional_call(module, c.params, inputs)  # noqa: E731
    return call_module(called, c.net, c.x, c.lengths, c.enforce_sorted, c.state)


def axes(call: Call) -> tuple[int, int | None]:
    """The axes of time and of the batch in the input."""
    if call.x.dim() == 2:
        return 0, None
    return (1, 0) if call.net.batch_first else (0, 1)


def larger(c: Call) -> Call:
    """Another call of the same net and parameters: a step longer, a row more, other numbers.

    A batch is packed, if it was not: its first row is whole, the others end after one step.
    """

    def one_more(value: torch.Tensor, axis: int) -> torch.Tensor:
        return torch.cat([value, value.narrow(axis, 0, 1)], axis)

    other = _resized(c, one_more, -0.75, 0.5)
    if c.lengths is not None:
        return other._replace(lengths=(*(n + 1 for n in c.lengths), min(c.lengths)))
    time, batch = axes(other)
    if batch is None:
        return other
    steps, rows = other.x.shape[time], other.x.shape[batch]
    return other._replace(lengths=(steps, *[1] * (rows - 1)))


def smaller(c: Call) -> Call:
    """Another call of the same net and parameters: a step less and a row less where there are
    several, other numbers."""

    def one_less(value: torch.Tensor, axis: int) -> torch.Tensor:
        return value.narrow(axis, 0, max(value.shape[axis] - 1, 1))

    other = _resized(c, one_less, -0.5, 0.75)
    steps, rows = other.x.shape[:2]  # of a packed batch, which alone has lengths
    return other._replace(lengths=c.lengths and tuple(min(n, steps) for n in c.lengths[:rows]))


def _resized(
    c: Call, change: Callable[[torch.Tensor, int], torch.Tensor], of_x: float, of_state: float
) -> Call:
    """The call with x changed along time, and along its rows as the state is; both scaled."""
    x = c.x.detach() * of_x
    state = c.state and [s.detach() * of_state for s in c.state]
    if x.dim() == 2:
        return c._replace(x=change(x, 0), state=state, masks=[])
    x = change(change(x, 0), 1)  # steps and rows, whichever of the two comes first
    return c._replace(x=x, state=state and [change(s, 1) for s in state], masks=[])


def seed(number: int, device: str) -> None:
    """Start torch's own draws anew. torch.manual_seed does it for every device there may be, and
    writes down the whole stack for each that is not there: ten times the work of a small net."""
    if device == "cpu":
        torch.default_generator.manual_seed(number)
    else:
        torch.manual_seed(number)


def time_major(problem: Problem, value: np.ndarray) -> np.ndarray:
    """[T, B, ·] of an array in the problem's layout."""
    if value.ndim == 2:
        return value[:, None]
    return value.swapaxes(0, 1) if problem.net.batch_first else value
