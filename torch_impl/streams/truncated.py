"""Truncated backpropagation through time by autograd: what `detach` cuts.

The everyday loop is `detach`: one backward pass after each block, then the state detached. The
general TBPTT(k₁, k₂) is written for its meaning, not for speed: for each pass the blocks in reach
are run again from the state that entered them, a constant, and autograd does the rest.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Objective = Callable[[Tensor, Any], Tensor]


class Pass(NamedTuple):
    """One pass backwards: the loss it is of, the state reached, and every gradient by name."""

    loss: Tensor
    state: Any
    params: dict[str, Tensor]


def detached(state: Any) -> Any:
    """The same values, on which nothing before depends; both halves of an LSTM's pair."""
    if isinstance(state, tuple):
        return tuple(s.detach() for s in state)
    return state if state is None else state.detach()


def detach(
    model: nn.Module, blocks: Iterable[Any], objective: Objective, state: Any = None
) -> Iterator[Pass]:
    """Carry the state, cut the gradient: a pass after each block (x, y)."""
    for x, y in blocks:
        output, state = model(x, state)
        state = detached(state)
        loss = objective(output, y)
        yield Pass(loss.detach(), state, _gradients(model, loss))


def tbptt(
    model: nn.Module,
    blocks: Iterable[Any],
    objective: Objective,
    state: Any = None,
    k1: int = 1,
    k2: int | None = 1,
) -> Iterator[Pass]:
    """A pass after every k1 blocks (x, y), back over at most k2; k2 = None is without end."""
    reach: deque[Any] = deque(maxlen=k2)  # blocks, and the state that entered each
    blocks = iter(blocks)
    while group := list(islice(blocks, k1)):
        for block in group:
            reach.append((block, state))
            with torch.no_grad():
                _, state = model(block[0], state)
        again, losses = reach[0][1], []
        for (x, y), _ in reach:
            output, again = model(x, again)
            losses.append(objective(output, y))
        loss = torch.stack(losses[-len(group) :]).sum()
        yield Pass(loss.detach(), state, _gradients(model, loss))


def reset(
    model: nn.Module, blocks: Iterable[Any], objective: Objective, state: Any = None
) -> Iterator[Pass]:
    """Every block starts from the initial state."""
    for block in blocks:
        yield from detach(model, [block], objective, state)


carry = partial(tbptt, k1=1, k2=None)


def _gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))
