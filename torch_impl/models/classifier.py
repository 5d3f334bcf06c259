"""The many-to-one classifier as an nn.Module, and its training step."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence

import reference.models.classifier

from ..nets.modules import new_module
from .layers import load


class SequenceClassifier(nn.Module):
    """The same model over torch.nn, from the reference's description and its parameters."""

    def __init__(
        self, clf: reference.models.classifier.SequenceClassifier, params: Mapping[str, np.ndarray]
    ) -> None:
        super().__init__()
        self.directions = 1 + clf.rnn.bidirectional
        width = (clf.rnn.proj_size or clf.rnn.hidden_size) * self.directions
        self.emb = nn.Embedding(clf.vocab_size, clf.rnn.input_size, clf.padding_idx, device="meta")
        self.rnn = new_module(clf.rnn, {})
        self.head = nn.Linear(width, clf.num_classes, device="meta")
        load(self, params)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits [B, K]."""
        x = self.emb(ids)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, state = self.rnn(packed)
        h_n = state[0] if isinstance(self.rnn, nn.LSTM) else state
        return self.head(torch.cat(tuple(h_n[-self.directions :]), dim=-1))


def classifier_step(
    model: SequenceClassifier, ids: Tensor, lengths: Tensor, labels: Tensor
) -> Tensor:
    """The loss of a batch."""
    return cross_entropy(model(ids, lengths), labels)
