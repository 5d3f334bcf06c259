"""Reset the state by a mask, and run a recurrent module with resets between its steps."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from ..nets.state import State, join_state, split_state


def reset(state: State, r: Tensor, init: State | None = None) -> State:
    """The state [L, B, H], or an LSTM's pair, with init (zeros if None) in the rows where r [B]."""
    fields = split_state(state)
    inits = [s.new_zeros(()) for s in fields] if init is None else split_state(init)
    pairs = zip(inits, fields, strict=True)
    return join_state(tuple(torch.where(r[:, None], start, s) for start, s in pairs))


def forward(
    module: nn.Module, x: Tensor, r: Tensor, state: State, init: State | None = None
) -> tuple[Tensor, State]:
    """Output [T, B, H] and final state of x [T, B, I]; r [T, B] resets the state before a step."""
    cuts = [0, *(t for t in range(1, len(x)) if r[t].any()), len(x)]
    outputs = []
    for first, end in pairwise(cuts):
        output, state = module(x[first:end], reset(state, r[first], init))
        outputs.append(output)
    return torch.cat(outputs), state
