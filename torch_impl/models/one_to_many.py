"""One to many as an nn.Module: a language model whose initial state is a linear map of a vector."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn

import reference.models.one_to_many

from ..nets.modules import new_module
from ..nets.state import State
from .layers import load


class OneToMany(nn.Module):
    """The reference's model over torch.nn, with the same options and these parameters."""

    def __init__(
        self, model: reference.models.one_to_many.OneToMany, params: Mapping[str, np.ndarray]
    ) -> None:
        super().__init__()
        lm, rnn = model.lm, model.lm.rnn
        H = rnn.output_size
        self.bridge = nn.Linear(model.context_size, rnn.num_layers * H, device="meta")
        self.emb = nn.Embedding(lm.vocab_size, rnn.input_size, lm.padding_idx, device="meta")
        self.rnn = new_module(rnn, {})
        self.head = nn.Linear(H, lm.vocab_size, device="meta")
        load(self, params)

    def initial_state(self, z: Tensor) -> State:
        """The language model's initial state for z [B, C]: h_0 = bridge(z), c_0 = 0."""
        h: Tensor = self.bridge(z).unflatten(1, (self.rnn.num_layers, -1))
        h_0 = h.transpose(0, 1).contiguous()
        if not isinstance(self.rnn, nn.LSTM):
            return h_0
        return h_0, h_0.new_zeros(*h_0.shape[:2], self.rnn.hidden_size)

    def forward(self, z: Tensor, ids: Tensor) -> Tensor:
        """Logits [B, T, V] of ids [B, T] given z [B, C]."""
        h, _ = self.rnn(self.emb(ids), self.initial_state(z))
        logits: Tensor = self.head(h)
        return logits
