"""TinyRNNLM as an nn.Module, its training step, and the probability of a sequence."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

import reference.models.language_model

from ..nets.modules import new_module
from ..nets.state import State
from . import loss
from .layers import load


class TinyRNNLM(nn.Module):
    """The reference's model over torch.nn, with the same options and these parameters."""

    def __init__(
        self, lm: reference.models.language_model.TinyRNNLM, params: Mapping[str, np.ndarray]
    ) -> None:
        super().__init__()
        self.emb = nn.Embedding(lm.vocab_size, lm.rnn.input_size, lm.padding_idx, device="meta")
        self.rnn = new_module(lm.rnn, {})
        self.head = nn.Linear(lm.rnn.output_size, lm.vocab_size, device="meta")
        load(self, params)

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits [B, T, V] of ids [B, T], and the state after the last token."""
        h, final = self.rnn(self.emb(ids), state)
        return self.head(h), final


def log_probability(model: TinyRNNLM, ids: Tensor) -> Tensor:
    """log p(x_2 … x_T | x_1), [B]."""
    inputs, targets = loss.shift(ids)
    log_p: Tensor = model(inputs)[0].log_softmax(-1)
    return log_p.gather(-1, targets[..., None])[..., 0].sum(dim=1)


def lm_step(model: TinyRNNLM, ids: Tensor, state: State | None = None) -> Tensor:
    """The mean cross-entropy per token of ids [B, T] under teacher forcing."""
    inputs, targets = loss.shift(ids)
    mask = None
    if model.emb.padding_idx is not None:
        mask = targets != model.emb.padding_idx
    return loss.cross_entropy(model(inputs, state)[0], targets, mask)


def step(optimizer: torch.optim.Optimizer, value: Tensor) -> float:
    """One optimiser step on a loss; returns the loss as a number."""
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return value.item()
