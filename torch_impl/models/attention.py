"""Additive attention as an nn.Module; the gradient is autograd's."""

import torch
from torch import Tensor, nn


class AdditiveAttention(nn.Module):
    """e_t = v · tanh(W_s s + W_h h_t), α = softmax(e), c = Σ α_t h_t."""

    def __init__(self, query_size: int, key_size: int, attention_size: int) -> None:
        super().__init__()
        self.weight_s = nn.Parameter(torch.empty(attention_size, query_size))
        self.weight_h = nn.Parameter(torch.empty(attention_size, key_size))
        self.v = nn.Parameter(torch.empty(attention_size))

    def forward(self, s: Tensor, h: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The context [B, H] and the weights [B, T] of query s [B, S] over keys h [B, T, H].

        `mask` [B, T] is True where a key takes part.
        """
        if mask is not None:
            h = h.masked_fill(~mask[..., None], 0)  # because α = 0 times NaN is NaN
        scores = torch.tanh((s @ self.weight_s.T)[:, None] + h @ self.weight_h.T) @ self.v
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        alpha = scores.softmax(dim=-1)
        return (alpha[:, None] @ h)[:, 0], alpha
