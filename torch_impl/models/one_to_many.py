"""One to many as an nn.Module: a language model whose initial state is a map of a vector."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

import reference.models.one_to_many

from ..nets.modules import new_module
from .layers import load


class OneToMany(nn.Module):
    """The same model over torch.nn, from the reference's description and its parameters."""

    def __init__(
        self, model: reference.models.one_to_many.OneToMany, params: Mapping[str, np.ndarray]
    ) -> None:
        super().__init__()
        lm, rnn = model.lm, model.lm.rnn
        H = rnn.proj_size or rnn.hidden_size
        self.bridge = nn.Linear(model.context_size, rnn.num_layers * H, device="meta")
        self.emb = nn.Embedding(lm.vocab_size, rnn.input_size, lm.padding_idx, device="meta")
        self.rnn = new_module(rnn, {})
        self.head = nn.Linear(H, lm.vocab_size, device="meta")
        load(self, params)

    def initial_state(self, z: Tensor) -> Any:
        """The language model's state from z [B, C]."""
        h_0 = self.bridge(z).unflatten(1, (self.rnn.num_layers, -1)).transpose(0, 1).contiguous()
        if not isinstance(self.rnn, nn.LSTM):
            return h_0
        return h_0, h_0.new_zeros(*h_0.shape[:2], self.rnn.hidden_size)

    def forward(self, z: Tensor, ids: Tensor) -> Tensor:
        """Logits [B, T, V] of ids [B, T] given z [B, C]."""
        h, _ = self.rnn(self.emb(ids), self.initial_state(z))
        return self.head(h)
