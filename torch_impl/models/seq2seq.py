"""The encoder–decoder as an nn.Module, with and without attention."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import reference.models.seq2seq

from ..nets.modules import new_module
from ..nets.state import State, hidden, join_state, split_state
from .attention import AdditiveAttention
from .layers import load


class Seq2Seq(nn.Module):
    """The reference's model over torch.nn, with the same options and these parameters."""

    def __init__(
        self, model: reference.models.seq2seq.Seq2Seq, params: Mapping[str, np.ndarray]
    ) -> None:
        super().__init__()
        E, H, V = model.embedding_size, model.hidden_size, model.target_vocab
        self.bos, self.eos = model.bos, model.eos
        self.source_emb = nn.Embedding(model.source_vocab, E, device="meta")
        self.encoder = new_module(model.encoder, {})
        self.target_emb = nn.Embedding(V, E, device="meta")
        self.attention = None
        if model.attention_size:
            self.attention = AdditiveAttention(H, H, model.attention_size)
        self.decoder = getattr(nn, f"{model.cell}Cell")(E + H, H, device="meta")
        self.head = nn.Linear(H, V, device="meta")
        load(self, params)

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[State, Tensor, Tensor]:
        """s_0, the encoder's states h [B, T, H], and a mask of the real steps [B, T]."""
        packed = pack_padded_sequence(
            self.source_emb(source), lengths, batch_first=True, enforce_sorted=False
        )
        output, final = self.encoder(packed)
        h, _ = pad_packed_sequence(output, batch_first=True, total_length=source.shape[1])
        state = join_state(tuple(field[0] for field in split_state(final)))
        return state, h, torch.arange(source.shape[1]) < lengths[:, None]

    def step(self, y: Tensor, state: State, context: Tensor, h: Tensor, real: Tensor) -> State:
        """The decoder's state after tokens y [B]. Attention, if any, replaces `context`."""
        if self.attention is not None:
            context, _ = self.attention(hidden(state), h, real)
        new: State = self.decoder(torch.cat([self.target_emb(y), context], dim=1), state)
        return new

    def forward(self, source: Tensor, lengths: Tensor, inputs: Tensor) -> Tensor:
        """Logits [B, U, V_y] of decoder inputs [B, U]."""
        state, h, real = self.encode(source, lengths)
        context, s = hidden(state), []
        for y in inputs.unbind(dim=1):
            state = self.step(y, state, context, h, real)
            s.append(hidden(state))
        logits: Tensor = self.head(torch.stack(s, dim=1))
        return logits
