"""Embedding, linear map, dropout with an explicit mask, and the loading of parameters."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


def embedding(weight: Tensor, ids: Tensor, padding_idx: int | None = None) -> Tensor:
    """F.embedding."""
    return F.embedding(ids, weight, padding_idx)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """F.linear."""
    return F.linear(x, weight, bias)


def dropout(x: Tensor, mask: Tensor, p: float) -> Tensor:
    """F.dropout with a given mask of zeros and ones."""
    return x * mask * (1 / (1 - p) if p < 1 else 0)


def load(module: nn.Module, params: Mapping[str, np.ndarray]) -> nn.Module:
    """Replace the module's parameters by name, in the arrays' dtype, and return the module."""
    tensors = {name: torch.tensor(value) for name, value in params.items()}
    module.load_state_dict(tensors, assign=True)
    return module.requires_grad_(True)
