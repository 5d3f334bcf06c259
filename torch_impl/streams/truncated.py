"""Truncated backpropagation through time by autograd.

The usual loop is `detach`: a backward pass after each block, then the state is detached. The
general TBPTT(k₁, k₂) is written for clarity, not for speed: each pass runs the blocks within its
reach again from the state before them, which is a constant.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..nets.state import State, join_state, split_state

Block = tuple[Tensor, Tensor]  # inputs x and targets y
Objective = Callable[[Tensor, Tensor], Tensor]  # (output, y) → loss


class Pass(NamedTuple):
    """A backward pass: its loss, the state after its last block, and every gradient by name."""

    loss: Tensor
    state: State | None
    params: dict[str, Tensor]


def detached(state: State) -> State:
    """The state, or both tensors of an LSTM's pair, outside the graph."""
    return join_state(tuple(s.detach() for s in split_state(state)))


def detach(
    model: nn.Module, blocks: Iterable[Block], objective: Objective, state: State | None = None
) -> Iterator[Pass]:
    """A pass after each block; the state is carried on, the gradient stops at the block's start."""
    for x, y in blocks:
        output, state = model(x, state)
        state = detached(state)
        loss = objective(output, y)
        yield Pass(loss.detach(), state, _gradients(model, loss))


def tbptt(
    model: nn.Module,
    blocks: Iterable[Block],
    objective: Objective,
    state: State | None = None,
    k1: int = 1,
    k2: int | None = 1,
) -> Iterator[Pass]:
    """A pass after every k1 blocks, back over at most k2 of them, or over all if k2 is None."""
    reach: deque[tuple[Block, State | None]] = deque(maxlen=k2)  # and the state before each block
    blocks = iter(blocks)
    while group := list(islice(blocks, k1)):
        for block in group:
            reach.append((block, state))
            with torch.no_grad():
                _, state = model(block[0], state)
        rerun_state, losses = reach[0][1], []
        for (x, y), _ in reach:
            output, rerun_state = model(x, rerun_state)
            losses.append(objective(output, y))
        loss = torch.stack(losses[-len(group) :]).sum()
        yield Pass(loss.detach(), state, _gradients(model, loss))


def reset(
    model: nn.Module, blocks: Iterable[Block], objective: Objective, state: State | None = None
) -> Iterator[Pass]:
    """A pass after each block, every block from the initial state."""
    for block in blocks:
        yield from detach(model, [block], objective, state)


carry = partial(tbptt, k1=1, k2=None)


def _gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))
