"""Many to one: a class for each sequence, whatever its length.

    ids      [B, T]   tokens, rows padded on the right      E  [V, I]  embedding
    lengths  [B]      how many tokens of each row count     W  [K, D·H]   b [K]  head
    h_n      [L·D, B, H]   the last state of every layer    o  [B, K]  logits

Forward
    (1)  rows = pack(ids, lengths)            real tokens only: padding is never read
    (2)  x = E[rows]
    (3)  h_n = the state of rnn(x) after each sequence's own last token
    (4)  h = h_n of the last layer            h_n[−1]; two directions are concatenated
    (5)  o = h Wᵀ + b
    (6)  L = the mean over the batch of −log softmax(o)[label]

Adjoint
    (6′) δo = (p − 1[label]) / B
    (5′) δh = δo W   δW = Σ δoᵀ h   δb = Σ δo                          Σ over the batch
    (4′) δh_n = δh in the last layer, 0 below it
    (3′) δx, δparameters = rnn′(δh_n)         BPTT, each sequence from its own end
    (2′) δE[v] = Σ δx where rows = v

The last column of the output is not h: in a short sequence it lies in the padding.
Parameters have torch's names: emb.weight, rnn.weight_ih_l0 …, head.weight, head.bias.

Source: github.com/ShaohonChen/tutorial_with_rnn, whose `fc` is `head` here.
Page: docs/models/classifier.md
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..arrays import check_tokens
from ..nets.modules import Module
from ..nets.stack import Tape as NetTape
from ..nets.state import OptionalState, State, join_state, split_state
from ..sequences.packing import PackedSequence, pack_padded_sequence
from . import loss
from .layers import (
    EmbeddingTape,
    LinearTape,
    check_padding_idx,
    embedding,
    embedding_back,
    embedding_init,
    linear,
    linear_back,
    linear_init,
)
from .parameters import Params, add_prefix, select_prefix


class Tape(NamedTuple):
    """The values that `backward` reads: the rows of (1), and the tapes of (2), (3) and (5)."""

    packed: PackedSequence
    emb: EmbeddingTape
    rnn: NetTape
    head: LinearTape


@dataclass(frozen=True)
class SequenceClassifier:
    """Embedding, recurrent net, and a linear head over the net's last state."""

    vocab_size: int
    num_classes: int
    rnn: Module
    padding_idx: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a net with dropout and for a padding_idx outside the vocabulary."""
        if self.rnn.dropout:
            raise ValueError(
                f"Expected a net with dropout=0, because no masks are drawn here, got {self.rnn}."
            )
        check_padding_idx(self.vocab_size, self.padding_idx)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter, in torch's order."""
        width = self.rnn.output_size * self.rnn.directions
        shapes: dict[str, tuple[int, ...]] = {"emb.weight": (self.vocab_size, self.rnn.input_size)}
        shapes |= {f"rnn.{name}": s for name, s in self.rnn.parameter_shapes().items()}
        return shapes | {"head.weight": (self.num_classes, width), "head.bias": (self.num_classes,)}

    def init(self, rng: np.random.Generator) -> Params:
        """Every parameter, drawn from torch's distribution, float64."""
        K, width = self.parameter_shapes()["head.weight"]
        emb = embedding_init(rng, self.vocab_size, self.rnn.input_size, self.padding_idx)
        rnn, head = self.rnn.init(rng), linear_init(rng, width, K)
        return add_prefix(emb, "emb.") | add_prefix(rnn, "rnn.") | add_prefix(head, "head.")

    def forward(
        self, params: Params, ids: np.ndarray, lengths: np.ndarray
    ) -> tuple[np.ndarray, Tape]:
        """Logits [B, K] of ids [B, T] with lengths [B], and the tape.

        Raises RuntimeError for an empty batch, a length below 1 or ids that are not integers,
        IndexError for a token outside the vocabulary.
        """
        ids = check_tokens("ids", ids)
        packed = pack_padded_sequence(ids, lengths, batch_first=True, enforce_sorted=False)  # (1)
        x, emb = embedding(params["emb.weight"], packed.data, self.padding_idx)  # (2)
        rows = packed._replace(data=x)
        _, state, rnn = self.rnn.forward(select_prefix(params, "rnn."), rows)  # (3)
        h = _last_layer(self.rnn, state)  # (4)
        logits, head = linear(h, params["head.weight"], params["head.bias"])  # (5)
        return logits, Tape(packed, emb, rnn, head)

    def backward(self, tape: Tape, d_logits: np.ndarray) -> Params:
        """The gradient of every parameter from δlogits [B, K]."""
        head = linear_back(tape.head, d_logits)  # (5′)
        rnn = self.rnn.backward(tape.rnn, None, _last_layer_back(self.rnn, head.x))  # (4′) (3′)
        emb = {"emb.weight": embedding_back(tape.emb, rnn.x.data)}  # (2′)
        return emb | add_prefix(rnn.params, "rnn.") | add_prefix(head.params, "head.")


def classifier_step(
    clf: SequenceClassifier,
    params: Params,
    ids: np.ndarray,
    lengths: np.ndarray,
    labels: np.ndarray,
) -> tuple[np.ndarray, Params]:
    """The loss of a batch ids [B, T], lengths [B], labels [B], and every parameter's gradient."""
    logits, tape = clf.forward(params, ids, lengths)
    value, loss_tape = loss.cross_entropy(logits, labels)  # (6)
    return value, clf.backward(tape, loss.cross_entropy_back(loss_tape))  # (6′)


def _last_layer(rnn: Module, state: State) -> np.ndarray:
    """h [B, D·H] of the last layer from h_n [L·D, B, H], or from the LSTM's (h_n, c_n)."""
    h_n, *_ = split_state(state)
    return np.concatenate(h_n[-rnn.directions :], axis=1)


def _last_layer_back(rnn: Module, d_h: np.ndarray) -> OptionalState:
    """δh_n [L·D, B, H], for the LSTM (δh_n, None), from δh [B, D·H]."""
    halves = np.stack(np.split(d_h, rnn.directions, axis=1))
    d_h_n = np.concatenate([np.zeros_like(halves)] * (rnn.num_layers - 1) + [halves])
    d_state: OptionalState = join_state([d_h_n, None][: len(rnn.state_sizes)])
    return d_state
