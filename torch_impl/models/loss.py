"""Softmax cross-entropy with masks and denominators."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def per_token(m: Tensor) -> Tensor:
    """The weights m / Σ m of labels that count, m [B, T]; 0 if none does."""
    return m / m.sum().clamp_min(1)


def per_sequence(m: Tensor) -> Tensor:
    """The weights of the mean over sequences of their mean over labels that count, m [B, T].

    Sequences without such a label are left out.
    """
    n = m.sum(dim=-1, keepdim=True)
    return m / n.clamp_min(1) / (n > 0).sum().clamp_min(1)


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    mask: Tensor | None = None,
    weights: Callable[[Tensor], Tensor] = per_token,
) -> Tensor:
    """The weighted sum of token losses, for logits [..., K] and labels [...].

    Tokens that do not count are replaced before the loss, so that NaN in them has no effect.
    """
    counted = torch.ones_like(labels, dtype=torch.bool) if mask is None else mask
    logits = torch.where(counted[..., None], logits, torch.zeros_like(logits))
    losses = F.cross_entropy(logits.movedim(-1, 1), labels.where(counted, 0), reduction="none")
    return (weights(counted.to(logits.dtype)) * losses).sum()


def ignoring(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """F.cross_entropy with its own ignore_index, for logits [..., K] and labels [...]."""
    flat = logits.reshape(-1, logits.shape[-1])
    return F.cross_entropy(flat, labels.reshape(-1), ignore_index=ignore_index)


def shift(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and targets [B, T−1] from ids [B, T]."""
    return ids[:, :-1], ids[:, 1:]
