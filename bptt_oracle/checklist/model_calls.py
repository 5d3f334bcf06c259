"""Record the calls of a model, or run it in another mode, and restore it afterwards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from .check_result import state_tensors

T = TypeVar("T")


class ModelCall(NamedTuple):
    """One call model(x, state) -> (output, state)."""

    x: Tensor  # a copy
    entering: tuple[Tensor, ...]  # copies of h, or h and c
    attached: tuple[bool, ...]  # whether a gradient would flow from them into an earlier graph
    leaving: tuple[Tensor, ...]  # copies


@contextmanager
def record_calls(model: nn.Module) -> Iterator[list[ModelCall]]:
    """Record the calls made of `model` inside the block, in order.

    The first argument of a call is x. The state that enters is the next argument, positional or by
    name, that is a tensor of floating point or a tuple of tensors. The state that leaves is the
    second value of the returned tuple.
    """
    calls: list[ModelCall] = []

    def record(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        x, *rest = [*args, *kwargs.values()]
        entering = next((argument for argument in rest if _is_state(argument)), None)
        leaving = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        calls.append(
            ModelCall(
                x.data.clone(),  # of a PackedSequence, its rows
                tuple(s.detach().clone() for s in state_tensors(entering)),
                tuple(s.grad_fn is not None for s in state_tensors(entering)),
                tuple(s.detach().clone() for s in state_tensors(leaving)),
            )
        )

    handle = model.register_forward_hook(record, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


@contextmanager
def set_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Put the model in training or evaluation mode inside the block.

    Afterwards every submodule is in its own earlier mode again.
    """
    modes = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def fixed_seed() -> Iterator[None]:
    """Start torch's random numbers from seed 0 inside the block, and restore them afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def evaluate(model: nn.Module, run: Callable[[], T]) -> T:
    """The result of `run()` with the model in evaluation mode, without a graph."""
    with set_mode(model, training=False), torch.no_grad():
        return run()


def _is_state(argument: object) -> bool:
    """Whether an argument is a tensor of floating point, or a tuple or list of tensors."""
    if isinstance(argument, Tensor):
        return argument.is_floating_point()
    return (
        isinstance(argument, tuple | list)
        and len(argument) > 0
        and all(isinstance(s, Tensor) for s in argument)
    )
