"""TinyRNNLM, a language model over characters, and its loss and gradient for one training step.

    ids  [B, T]      tokens x_1 … x_T             E  [V, I]  embedding
    x    [B, T, I]   embedded tokens              W  [V, H]   b [V]  head
    h    [B, T, H]   output of the net            state  of the net, [L, B, H]
    o    [B, T, V]   logits: o_t scores x_{t+1} given x_1 … x_t

Forward
    (1)  x = E[ids]
    (2)  h, state_T = rnn(x, state_0)
    (3)  o = h Wᵀ + b
    (4)  log p(x_2 … x_T | x_1) = Σ_t log softmax(o_t)[x_{t+1}]        the factorisation
    (5)  L = the mean of −log softmax(o_t)[x_{t+1}] over every target that is not padding

Adjoint
    (5′) δo = (p − 1[x_{t+1}]) / number of targets; 0 where the target is padding
    (3′) δh = δo W   δW = Σ δoᵀ h   δb = Σ δo                          Σ over sequences and time
    (2′) δx, δstate_0, δparameters = rnn′(δh, δstate_T)                BPTT
    (1′) δE[v] = Σ δx where ids = v

Parameters have torch's names: emb.weight, rnn.weight_ih_l0 …, head.weight, head.bias.

Source: Mikolov et al. 2010; Bengio et al. 2003 for the factorisation.
Page: docs/models/language_model.md
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..activations import log_softmax
from ..arrays import check_tokens
from ..nets.modules import Module
from ..nets.stack import Tape as NetTape
from ..nets.state import State
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
    """The tapes of (1), (2) and (3)."""

    emb: EmbeddingTape
    rnn: NetTape
    head: LinearTape


class Grads(NamedTuple):
    """The gradients of the initial state and of every parameter."""

    state: State
    params: Params


@dataclass(frozen=True)
class TinyRNNLM:
    """Embedding, recurrent net, linear head. `rnn` has batch_first=True and one direction."""

    vocab_size: int
    rnn: Module
    padding_idx: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for two directions, time-first layout, dropout or a bad padding_idx."""
        if self.rnn.bidirectional:
            raise ValueError(
                "A bidirectional net reads the token it has to predict; use one direction."
            )
        if not self.rnn.batch_first or self.rnn.dropout:
            raise ValueError(
                f"Expected a net with batch_first=True and no dropout, got {self.rnn}."
            )
        check_padding_idx(self.vocab_size, self.padding_idx)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter, in torch's order."""
        V, H = self.vocab_size, self.rnn.output_size
        shapes: dict[str, tuple[int, ...]] = {"emb.weight": (V, self.rnn.input_size)}
        shapes |= {f"rnn.{name}": s for name, s in self.rnn.parameter_shapes().items()}
        return shapes | {"head.weight": (V, H), "head.bias": (V,)}

    def init(self, rng: np.random.Generator) -> Params:
        """Every parameter, drawn from torch's distribution, float64."""
        V, H = self.parameter_shapes()["head.weight"]
        emb = embedding_init(rng, V, self.rnn.input_size, self.padding_idx)
        rnn, head = self.rnn.init(rng), linear_init(rng, H, V)
        return add_prefix(emb, "emb.") | add_prefix(rnn, "rnn.") | add_prefix(head, "head.")

    def forward(
        self, params: Params, ids: np.ndarray, state: State | None = None
    ) -> tuple[np.ndarray, State, Tape]:
        """Logits [B, T, V] of ids [B, T], the state after the last token, and the tape.

        Raises IndexError for a token outside the vocabulary, RuntimeError for ids that are not
        integers, and the errors of `rnn.forward`.
        """
        x, emb = embedding(params["emb.weight"], ids, self.padding_idx)  # (1)
        h, state, rnn = self.rnn.forward(select_prefix(params, "rnn."), x, state)  # (2)
        logits, head = linear(h, params["head.weight"], params["head.bias"])  # (3)
        return logits, state, Tape(emb, rnn, head)

    def backward(self, tape: Tape, d_logits: np.ndarray, d_state: State | None = None) -> Grads:
        """Gradients from δlogits [B, T, V] and, where it is not None, δ of the last state."""
        head = linear_back(tape.head, d_logits)  # (3′)
        rnn = self.rnn.backward(tape.rnn, head.x, d_state)  # (2′)
        emb = {"emb.weight": embedding_back(tape.emb, rnn.x)}  # (1′)
        params = emb | add_prefix(rnn.params, "rnn.") | add_prefix(head.params, "head.")
        return Grads(rnn.state, params)


def log_probability(lm: TinyRNNLM, params: Params, ids: np.ndarray) -> np.ndarray:
    """log p(x_2 … x_T | x_1), [B], of ids [B, T]; x_1 is a start token or the first letter.

    Raises IndexError for a token outside the vocabulary, RuntimeError for ids of another type.
    """
    inputs, targets = loss.shift(ids)
    loss.check_labels(targets, lm.vocab_size)
    log_p = log_softmax(lm.forward(params, inputs)[0])
    steps = np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    total: np.ndarray = steps.sum(axis=1)  # (4)
    return total


def lm_step(
    lm: TinyRNNLM, params: Params, ids: np.ndarray, state: State | None = None
) -> tuple[np.ndarray, Params]:
    """The loss of ids [B, T] under teacher forcing, and the gradient of every parameter.

    Raises ValueError for a batch without a target: an empty one, one token, or padding only.
    """
    return loss_and_grads(lm, params, *loss.shift(ids), state)


def loss_and_grads(
    lm: TinyRNNLM,
    params: Params,
    inputs: np.ndarray,
    targets: np.ndarray,
    state: State | None = None,
) -> tuple[np.ndarray, Params]:
    """The loss of targets [B, T] given inputs [B, T], and the gradient of every parameter.

    Raises ValueError where every target is padding, because the mean would be 0/0; RuntimeError for
    tokens that are not integers.
    """
    targets = check_tokens("targets", targets)
    mask = np.ones(targets.shape, dtype=bool)
    if lm.padding_idx is not None:
        mask = targets != lm.padding_idx
    if not mask.any():
        raise ValueError(
            f"Expected a target that is not padding, got none in a batch {list(targets.shape)}; "
            "leave the batch out."
        )
    logits, _, tape = lm.forward(params, inputs, state)
    value, loss_tape = loss.cross_entropy(logits, targets, mask)  # (5)
    grads = lm.backward(tape, loss.cross_entropy_back(loss_tape))  # (5′)
    return value, grads.params
