"""Backpropagation through time in segments, by torch.utils.checkpoint."""

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint


def unroll(
    module: torch.nn.RNNBase, x: torch.Tensor, state: Any, K: int, recompute: bool = True
) -> tuple[torch.Tensor, Any]:
    """Output [T, B, ·] and final state; activations of K steps at a time are alive in backward.

    Without `recompute` the same segments are run and every activation is kept.
    """
    outputs = []
    for segment in x.split(K):
        if recompute:
            output, state = checkpoint(module, segment, state, use_reentrant=False)
        else:
            output, state = module(segment, state)
        outputs.append(output)
    return torch.cat(outputs), state
