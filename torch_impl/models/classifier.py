"""The many-to-one classifier as an nn.Module, and its training step."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence

import reference.models.classifier

from ..nets.modules import new_module
from ..nets.state import hidden
from .layers import load


class SequenceClassifier(nn.Module):
    """The reference's model over torch.nn, with the same options and these parameters."""

    def __init__(
        self, clf: reference.models.classifier.SequenceClassifier, params: Mapping[str, np.ndarray]
    ) -> None:
        super().__init__()
        self.directions = clf.rnn.directions
        features = clf.rnn.output_size * self.directions
        self.emb = nn.Embedding(clf.vocab_size, clf.rnn.input_size, clf.padding_idx, device="meta")
        self.rnn = new_module(clf.rnn, {})
        self.head = nn.Linear(features, clf.num_classes, device="meta")
        load(self, params)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits [B, K] of ids [B, T] with lengths [B]."""
        x = self.emb(ids)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, state = self.rnn(packed)
        last_layer = hidden(state)[-self.directions :]
        logits: Tensor = self.head(torch.cat(tuple(last_layer), dim=-1))
        return logits


def classifier_step(
    model: SequenceClassifier, ids: Tensor, lengths: Tensor, labels: Tensor
) -> Tensor:
    """The mean cross-entropy of a batch: ids [B, T], lengths [B] and labels [B]."""
    return cross_entropy(model(ids, lengths), labels)
