"""Reset masks by selection, and a recurrent module run with resets inside time."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn


def reset(state: Any, r: Tensor, init: Any = None) -> Any:
    """The state [L, B, H], or an LSTM's pair, with the rows where r [B] begun anew from init."""
    if isinstance(state, tuple):
        inits = (None, None) if init is None else init
        return tuple(reset(s, r, i) for s, i in zip(state, inits, strict=True))
    start = state.new_zeros(()) if init is None else init
    return torch.where(r[:, None], start, state)


def forward(
    module: nn.Module, x: Tensor, r: Tensor, state: Any, init: Any = None
) -> tuple[Tensor, Any]:
    """Output [T, B, H] and final state of x [T, B, I] with resets r [T, B] before their steps."""
    cuts = [0, *(t for t in range(1, len(x)) if r[t].any()), len(x)]
    outputs = []
    for first, end in pairwise(cuts):
        output, state = module(x[first:end], reset(state, r[first], init))
        outputs.append(output)
    return torch.cat(outputs), state
