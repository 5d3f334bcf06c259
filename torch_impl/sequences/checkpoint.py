"""Backpropagation through time in segments, by torch.utils.checkpoint."""

import torch
from torch.utils.checkpoint import checkpoint

from ..nets.state import State


def unroll(
    module: torch.nn.RNNBase, x: torch.Tensor, state: State, K: int, recompute: bool = True
) -> tuple[torch.Tensor, State]:
    """Output [T, B, ·] and final state; the backward pass holds activations of K steps at a time.

    Without `recompute` the same segments run, and all activations are kept.
    """
    outputs = []
    for segment in torch.split(x, K):
        if recompute:
            output, state = checkpoint(module, segment, state, use_reentrant=False)
        else:
            output, state = module(segment, state)
        outputs.append(output)
    return torch.cat(outputs), state
