"""Watching a model at work without touching it: its calls, and its mode restored."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .verdict import parts


class Call(NamedTuple):
    """One call model(x, state) -> (output, state): the values, and what they were attached to."""

    x: Tensor
    entering: tuple[Tensor, ...]  # copies
    attached: tuple[bool, ...]  # whether a gradient would flow on into what made them
    leaving: tuple[Tensor, ...]  # copies


@contextmanager
def watched(model: nn.Module) -> Iterator[list[Call]]:
    """The calls made of `model` inside, in order.

    Its first argument is x; its state is the next tensor, or tuple of tensors, positional or by
    name; the state that leaves is the second thing it returns.
    """
    calls: list[Call] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        x, *rest = [*args, *kwargs.values()]
        state = next((a for a in rest if _is_state(a)), None)
        after = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        calls.append(
            Call(
                x.data.clone(),  # of a PackedSequence, its rows
                tuple(s.detach().clone() for s in parts(state)),
                tuple(s.grad_fn is not None for s in parts(state)),
                tuple(s.detach().clone() for s in parts(after)),
            )
        )

    handle = model.register_forward_hook(note, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


@contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """The model in this mode inside, and every part of it in its own again after."""
    before = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, was in before.items():
            module.training = was


@contextmanager
def same_draws() -> Iterator[None]:
    """Inside, the same random numbers each time; after, as if none had been drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def evaluated(model: nn.Module, run: Callable[[], Any]) -> Any:
    """What `run` gives in evaluation mode, without a graph."""
    with mode(model, training=False), torch.no_grad():
        return run()


def _is_state(a: Any) -> bool:
    return (isinstance(a, Tensor) and a.is_floating_point()) or (
        isinstance(a, tuple | list) and len(a) > 0 and all(isinstance(s, Tensor) for s in a)
    )
