"""Softmax cross-entropy with masks and denominators."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def per_token(m: Tensor) -> Tensor:
    """m / Σ m, and 0 when nothing counts."""
    return m / m.sum().clamp_min(1)


def per_sequence(m: Tensor) -> Tensor:
    """Each sequence's mean over its own labels, then the mean over the sequences that have any."""
    n = m.sum(dim=-1, keepdim=True)
    return m / n.clamp_min(1) / (n > 0).sum().clamp_min(1)


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    mask: Tensor | None = None,
    weights: Callable[[Tensor], Tensor] = per_token,
) -> Tensor:
    """The weighted sum of token losses, those that do not count selected away."""
    counted = torch.ones_like(labels, dtype=torch.bool) if mask is None else mask
    logits = torch.where(counted[..., None], logits, torch.zeros_like(logits))
    losses = F.cross_entropy(logits.movedim(-1, 1), labels.where(counted, 0), reduction="none")
    return (weights(counted.to(logits.dtype)) * losses).sum()


def ignoring(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """F.cross_entropy with its own ignore_index, over every axis but the last."""
    flat = logits.reshape(-1, logits.shape[-1])
    return F.cross_entropy(flat, labels.reshape(-1), ignore_index=ignore_index)


def shift(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and targets [B, T−1] from ids [B, T]."""
    return ids[:, :-1], ids[:, 1:]
