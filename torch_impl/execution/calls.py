"""A problem as tensors, and the implementations that compute it.

A Forward is a function from a Call to the padded output and the final states. The module's Forward
creates its module at the first call and keeps it, so that a later call reuses a called module.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from ..nets.modules import call_module, loop_of_cells, manual_stack, new_module
from .problem import Direction, Problem

Result = tuple[torch.Tensor, Sequence[torch.Tensor]]


class Call(NamedTuple):
    """The arguments of one call.

    `x` and `state` are in the net's layout; the dropout masks are [T, B, ·] and already scaled
    by 1 / (1 − p).
    """

    net: Any
    params: dict[str, torch.Tensor]
    x: torch.Tensor
    lengths: tuple[int, ...] | None
    enforce_sorted: bool
    state: list[torch.Tensor] | None
    masks: list[torch.Tensor]
    training: bool = True
    direction: list[torch.Tensor] | None = None  # of all leaves, in the order of `leaves_of`


Forward = Callable[[Call], Result]
Leaves = Sequence[torch.Tensor]  # x, the initial state, the parameters
ForwardPass = Callable[..., list[torch.Tensor]]  # the outputs of the leaves, or of others if given
Cotangents = Sequence[torch.Tensor | None]
Evaluation = tuple[list[torch.Tensor], list[torch.Tensor | None]]  # outputs, gradients of leaves


class Derivatives(NamedTuple):
    """Outputs, and derivatives of which any may not be computed.

    grads      the gradient of every leaf
    tangents   of every output, its derivative along the call's direction
    products   of every leaf, the derivative of its gradient along the direction
    """

    outputs: list[torch.Tensor]
    grads: list[torch.Tensor | None] | None = None
    tangents: Sequence[torch.Tensor] | None = None
    products: list[torch.Tensor | None] | None = None


Evaluate = Callable[[ForwardPass, Leaves, Cotangents], Evaluation | Derivatives]


class Prepared(NamedTuple):
    """A call made ready: what computes it, the call with the leaves that are used, and how its
    outputs and gradients are computed."""

    forward: Forward
    call: Call
    evaluate: Evaluate


def arrays_of(direction: Direction) -> list[np.ndarray]:
    """The arrays of a direction in the order of a Leaves."""
    return [direction.x, *(direction.state or ()), *direction.params.values()]


def leaves_of(call: Call) -> list[torch.Tensor]:
    """x, the initial state and the parameters, in the order of a Leaves."""
    return [call.x, *(call.state or []), *call.params.values()]


def with_leaves(call: Call, leaves: Leaves) -> Call:
    """The call with other tensors in the place of its leaves."""
    states = len(call.state or [])
    x, state, values = leaves[0], list(leaves[1 : 1 + states]), leaves[1 + states :]
    params = dict(zip(call.params, values, strict=True))
    return call._replace(x=x, state=None if call.state is None else state, params=params)


def call_of(
    problem: Problem, tensor: Callable[..., torch.Tensor], masks: Sequence[np.ndarray]
) -> Call:
    """The problem's arrays as leaves of a graph, created by `tensor(array, strided)`.

    One array under two names in `params` becomes one parameter.
    """
    shared = {id(p): torch.nn.Parameter(tensor(p)) for p in problem.params.values()}
    state, strided, direction = problem.state, problem.strided, problem.direction
    return Call(
        problem.net,
        {name: shared[id(p)] for name, p in problem.params.items()},
        tensor(problem.x, strided).requires_grad_(),
        problem.lengths,
        problem.enforce_sorted,
        None if state is None else [tensor(s, strided).requires_grad_() for s in state],
        [tensor(time_major(problem, mask)) * problem.net.dropout_scale for mask in masks],
        direction=direction and [tensor(v) for v in arrays_of(direction)],
    )


def forward_of(implementation: str) -> Forward:
    """The Forward of one of `path.IMPLEMENTATIONS`: module, cells or manual."""
    if implementation == "module":
        return partial(_module, {})
    unroll = loop_of_cells if implementation == "cells" else manual_stack
    return lambda c: unroll(c.net, c.params, c.x, c.lengths, c.masks, c.state)


def _module(cache: dict[str, torch.nn.Module], c: Call) -> Result:
    """Call nn.RNN, GRU or LSTM, which `cache` keeps from the first call on.

    Parameters that are not leaves but computed from others are passed by functional_call.
    """
    module = cache.get("module") or cache.setdefault("module", new_module(c.net, {}))
    module.train(c.training)
    forward: Callable[..., Any] = module
    if all(isinstance(p, torch.nn.Parameter) for p in c.params.values()):
        for name, p in c.params.items():
            setattr(module, name, p)
        module.flatten_parameters()  # type: ignore[operator]
    else:
        forward = lambda *inputs: torch.func.functional_call(module, c.params, inputs)  # noqa: E731
    return call_module(forward, c.net, c.x, c.lengths, c.enforce_sorted, c.state)


def axes(call: Call) -> tuple[int, int | None]:
    """The time and batch axes of the input; None if it is unbatched."""
    if call.x.dim() == 2:
        return 0, None
    return (1, 0) if call.net.batch_first else (0, 1)


def larger_call(c: Call) -> Call:
    """A call of the same net and parameters with one step and one row more, and other numbers.

    A batch that was not packed becomes packed: its first row keeps all steps, the others one.
    """

    def one_more(value: torch.Tensor, axis: int) -> torch.Tensor:
        return torch.cat([value, value.narrow(axis, 0, 1)], axis)

    resized = _resized(c, one_more, -0.75, 0.5)
    if c.lengths is not None:
        return resized._replace(lengths=(*(n + 1 for n in c.lengths), min(c.lengths)))
    time, batch = axes(resized)
    if batch is None:
        return resized
    steps, rows = resized.x.shape[time], resized.x.shape[batch]
    return resized._replace(lengths=(steps, *[1] * (rows - 1)))


def smaller_call(c: Call) -> Call:
    """A call of the same net and parameters with other numbers, and with one step and one row
    less where there is more than one."""

    def one_less(value: torch.Tensor, axis: int) -> torch.Tensor:
        return value.narrow(axis, 0, max(value.shape[axis] - 1, 1))

    resized = _resized(c, one_less, -0.5, 0.75)
    steps, rows = resized.x.shape[:2]  # [T, B, I] if packed; lengths is None otherwise
    return resized._replace(lengths=c.lengths and tuple(min(n, steps) for n in c.lengths[:rows]))


def _resized(
    c: Call,
    resize: Callable[[torch.Tensor, int], torch.Tensor],
    x_scale: float,
    state_scale: float,
) -> Call:
    """The call with x resized along time and batch, the state along batch, and both scaled."""
    x = c.x.detach() * x_scale
    state = c.state and [s.detach() * state_scale for s in c.state]
    if x.dim() == 2:
        return c._replace(x=resize(x, 0), state=state, masks=[])
    x = resize(resize(x, 0), 1)  # time and batch, in either order
    return c._replace(x=x, state=state and [resize(s, 1) for s in state], masks=[])


def seed(number: int, device: str) -> None:
    """Seed torch's generator for the device.

    On the CPU it avoids torch.manual_seed, which seeds every kind of device and records the
    whole stack for each one that is missing: ten times the work of a small net.
    """
    if device == "cpu":
        torch.default_generator.manual_seed(number)
    else:
        torch.manual_seed(number)


def time_major(problem: Problem, value: np.ndarray) -> np.ndarray:
    """[T, B, ·] of an array in the problem's layout."""
    if value.ndim == 2:
        return value[:, None]
    return value.swapaxes(0, 1) if problem.net.batch_first else value
