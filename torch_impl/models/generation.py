"""Greedy and sampled generation with explicit random draws, and scheduled sampling."""

from typing import Any

import torch
from torch import Tensor

from . import loss
from .language_model import TinyRNNLM


def sample(logits: Tensor, u: Tensor) -> Tensor:
    """The tokens [B] that u [B] selects under softmax(logits [B, V]), by inversion of the CDF."""
    cdf = logits.softmax(dim=-1).cumsum(dim=-1)
    return (cdf <= u[:, None] * cdf[:, -1:]).sum(dim=-1)


@torch.no_grad()
def generate_greedy(model: TinyRNNLM, prompt: Tensor, steps: int, state: Any = None) -> Tensor:
    """The `steps` tokens [B, steps] that follow prompt [B, T], each the most likely one."""
    tokens, fed = [], prompt
    for _ in range(steps):
        logits, state = model(fed, state)
        fed = logits[:, -1:].argmax(dim=-1)
        tokens.append(fed)
    return torch.cat(tokens, dim=1)


@torch.no_grad()
def generate_sampled(model: TinyRNNLM, prompt: Tensor, draws: Tensor, state: Any = None) -> Tensor:
    """The tokens [B, steps] that follow prompt [B, T], one for each of draws [B, steps]."""
    tokens, fed = [], prompt
    for u in draws.unbind(dim=1):
        logits, state = model(fed, state)
        fed = sample(logits[:, -1], u)[:, None]
        tokens.append(fed)
    return torch.cat(tokens, dim=1)


def scheduled_step(model: TinyRNNLM, ids: Tensor, truth: Tensor, draws: Tensor) -> Tensor:
    """The loss when each input is the text's token or the model's sample; differentiable.

    `truth` [B, T − 1] is True where the input is the text's. Nothing needs to be detached,
    because a sample is an integer, at which autograd stops.
    """
    text, targets = loss.shift(ids)
    outputs: list[Tensor] = []
    fed, state = text[:, 0], None
    for t in range(text.shape[1]):
        if t > 0:
            own = sample(outputs[-1], draws[:, t])
            fed = torch.where(truth[:, t], text[:, t], own)
        logits, state = model(fed[:, None], state)
        outputs.append(logits[:, 0])
    mask = None
    if model.emb.padding_idx is not None:
        mask = targets != model.emb.padding_idx
    return loss.cross_entropy(torch.stack(outputs, dim=1), targets, mask)
