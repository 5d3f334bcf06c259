"""Other inputs in the place of given ones, to see what an output depends on."""

import torch
from torch import Tensor


def other_values(x: Tensor) -> Tensor:
    """Another value everywhere: other numbers of the same size, or other tokens of x.

    Raises ValueError if x holds one token only.
    """
    if x.is_floating_point():
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(x.shape, generator=generator).to(x)
        numbers: Tensor = x + (1 + x.abs()) * torch.where(noise < 0, noise - 0.5, noise + 0.5)
        return numbers
    tokens = x.unique()
    if len(tokens) < 2:
        raise ValueError("Expected different tokens, got one token everywhere.")
    other: Tensor = tokens[(torch.searchsorted(tokens, x.contiguous()) + 1) % len(tokens)]
    return other


def replaced(x: Tensor, where: Tensor) -> Tensor:
    """x with other values where [B, T] is True."""
    shape = [*where.shape, *[1] * (x.dim() - where.dim())]
    return torch.where(where.reshape(shape), other_values(x), x)
