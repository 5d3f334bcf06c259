"""Encoder–decoder: a sequence read into a context, another written from it; with and without
attention.

    source   [B, T]  tokens, lengths [B]               E_x [V_x, E]   E_y [V_y, E]  embeddings
    h        [B, T, H]  states of the encoder          W [V_y, H]   b [V_y]         head
    y        [B, U]  the decoder's inputs, y_1 = ⟨bos⟩
    s_u      [B, H]  state of the decoder (s, c for the LSTM)      c_u [B, H]  context
    o        [B, U, V_y]  logits: o_u scores the token that follows y_u

Forward
    (1)  h, h_T = encoder(E_x[source])        packed: h_T is after each row's own last token
    (2)  s_0 = h_T                            a pair for the LSTM
    (3)  c_u = h_T,  or  attention(s_{u−1}, h)         what lies after a row's end is no key
    (4)  s_u = cell([E_y[y_u], c_u], s_{u−1})          for u = 1 … U
    (5)  o_u = s_u Wᵀ + b

Adjoint
    (5′) δs_u = δo_u W   δW, δb = Σ over rows and steps
    (4′) δE_y[y_u], δc_u, δs_{u−1} += cell′(δs_u)      for u = U … 1
    (3′) δh_T += δc_u,  or  δs_{u−1}, δh += attention′(δc_u)
    (2′) δh_T += δs_0
    (1′) δE_x[source] = encoder′(δh, δh_T)

Training feeds the decoder ⟨bos⟩ t_1 … t_n and asks for t_1 … t_n ⟨eos⟩ (teacher forcing); decoding
feeds it ⟨bos⟩ and then its own output.

Source: Sutskever, Vinyals & Le 2014, Cho et al. 2014 (c = h_T); Bahdanau, Cho & Bengio 2015.
Differs: one direction and one layer; the head reads the decoder's state alone.
Page: docs/models/seq2seq.md
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..nets.cell_modules import GRUCell, LSTMCell, RNNCell
from ..nets.modules import GRU, LSTM, RNN
from ..nets.state import join_state, split_state
from ..sequences.packing import (
    PackedSequence,
    pack_padded_sequence,
    pad_packed_sequence,
    pad_packed_sequence_back,
)
from . import attention
from .layers import (
    EmbeddingTape,
    LinearTape,
    Params,
    embedding,
    embedding_back,
    linear,
    linear_back,
    part,
    prefixed,
)

CELLS = {"RNN": (RNN, RNNCell), "GRU": (GRU, GRUCell), "LSTM": (LSTM, LSTMCell)}


class Source(NamedTuple):
    """What the decoder knows of the source."""

    state: Any  # s_0
    memory: Any  # what it reads at every step: the keys of attention, or h_T [B, H] itself


class EncoderTape(NamedTuple):
    """What (1′) reads."""

    emb: EmbeddingTape
    packed: PackedSequence
    rnn: Any


class StepTape(NamedTuple):
    """What (4′) and (3′) read of one step; without attention there is nothing of (3)."""

    read: attention.Tape | None
    cell: Any


class Tape(NamedTuple):
    """What `backward` reads."""

    params: Params
    source: Source
    encoder: EncoderTape
    emb: EmbeddingTape
    steps: list[StepTape]
    head: LinearTape


@dataclass(frozen=True)
class Seq2Seq:
    """Encoder and decoder of one cell, RNN, GRU or LSTM; no attention where its size is 0."""

    source_vocab: int
    target_vocab: int
    embedding_size: int
    hidden_size: int
    bos: int
    eos: int
    cell: str = "GRU"
    attention_size: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no model, with ValueError."""
        if self.cell not in CELLS:
            raise ValueError(f"Expected cell to be one of {', '.join(CELLS)}, got {self.cell!r}.")
        for name in ("bos", "eos"):
            if not 0 <= getattr(self, name) < self.target_vocab:
                raise ValueError(
                    f"Expected {name} to be a target token, 0 to {self.target_vocab - 1}, "
                    f"got {getattr(self, name)}."
                )
        if self.attention_size < 0:
            raise ValueError(
                f"Expected an attention_size of 0 (none) or more, got {self.attention_size}."
            )

    @property
    def encoder(self) -> Any:
        """The net that reads."""
        return CELLS[self.cell][0](self.embedding_size, self.hidden_size, batch_first=True)

    @property
    def decoder(self) -> Any:
        """The cell that writes; it reads the last token and the context."""
        return CELLS[self.cell][1](self.embedding_size + self.hidden_size, self.hidden_size)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter, in torch's order."""
        E, H, A, V = self.embedding_size, self.hidden_size, self.attention_size, self.target_vocab
        shapes: dict[str, tuple[int, ...]] = {"source_emb.weight": (self.source_vocab, E)}
        shapes |= {f"encoder.{name}": s for name, s in self.encoder.parameter_shapes().items()}
        shapes |= {"target_emb.weight": (V, E)}
        if A:
            shapes |= {f"attention.weight_{k}": (A, H) for k in "sh"} | {"attention.v": (A,)}
        shapes |= {f"decoder.{name}": s for name, s in self.decoder.parameter_shapes().items()}
        return shapes | {"head.weight": (V, H), "head.bias": (V,)}

    def init(self, rng: np.random.Generator) -> Params:
        """Embeddings from N(0, 1), every other parameter from U(−1/√H, 1/√H); float64."""
        bound = self.hidden_size**-0.5
        return {
            name: rng.standard_normal(shape) if "emb" in name else rng.uniform(-bound, bound, shape)
            for name, shape in self.parameter_shapes().items()
        }

    def encode(
        self, params: Params, source: np.ndarray, lengths: np.ndarray
    ) -> tuple[Source, EncoderTape]:
        """What the decoder knows of source [B, T], lengths [B]; and the tape."""
        tokens = pack_padded_sequence(source, lengths, batch_first=True, enforce_sorted=False)
        x, emb = embedding(params["source_emb.weight"], tokens.data)
        rows = tokens._replace(data=x)
        packed, final, rnn = self.encoder.forward(part(params, "encoder."), rows)  # (1)
        h, lengths = pad_packed_sequence(packed, batch_first=True, total_length=source.shape[1])
        state = join_state([f[0] for f in split_state(final)])  # (2)
        memory: Any = split_state(state)[0]
        if self.attention_size:
            real = np.arange(source.shape[1]) < lengths[:, None]
            memory = attention.remember(_attention(params), h, real)
        return Source(state, memory), EncoderTape(emb, packed, rnn)

    def step(self, params: Params, y: np.ndarray, state: Any, memory: Any) -> tuple[Any, StepTape]:
        """The decoder's state after one token, embedded y [B, E]; and the tape."""
        context, read = memory, None
        if self.attention_size:
            query, *_ = split_state(state)
            context, read = attention.attend(_attention(params), query, memory)  # (3)
        x = np.concatenate([y, context], axis=1)
        state, tape = self.decoder.forward(part(params, "decoder."), x, state)  # (4)
        return state, StepTape(read, tape)

    def forward(
        self, params: Params, source: np.ndarray, lengths: np.ndarray, inputs: np.ndarray
    ) -> tuple[np.ndarray, Tape]:
        """Logits [B, U, V_y] of source [B, T], lengths [B] and decoder inputs [B, U]; and the tape.

        Raises IndexError for a token outside its vocabulary, RuntimeError for an empty batch or a
        length that is not 1 … T, ValueError when inputs are not one row for each of the source.
        """
        if inputs.ndim != 2 or len(inputs) != len(source) or inputs.shape[1] == 0:
            raise ValueError(
                f"Expected decoder inputs [{len(source)}, U] with U ≥ 1, one row for each source, "
                f"got {list(inputs.shape)}."
            )
        known, encoder = self.encode(params, source, lengths)
        y, emb = embedding(params["target_emb.weight"], inputs)
        state, s, steps = known.state, [], []
        for u in range(inputs.shape[1]):
            state, tape = self.step(params, y[:, u], state, known.memory)
            s.append(split_state(state)[0])
            steps.append(tape)
        logits, head = linear(np.stack(s, 1), params["head.weight"], params["head.bias"])  # (5)
        return logits, Tape(params, known, encoder, emb, steps, head)

    def backward(self, tape: Tape, d_logits: np.ndarray) -> Params:
        """The gradient of every parameter from that of the logits."""
        params, source, encoder, emb, steps, head = tape
        d_s, d_weight, d_bias = linear_back(head, d_logits)  # (5′)
        total: dict[str, Any] = {"head.weight": d_weight, "head.bias": d_bias}
        d_state = join_state([np.zeros_like(p) for p in split_state(source.state)])
        d_y: list[np.ndarray] = []
        for u in reversed(range(len(steps))):
            cell = self.decoder.backward(steps[u].cell, _plus(d_state, d_s[:, u]))  # (4′)
            d_token, d_context = np.split(cell.x, [self.embedding_size], axis=1)
            d_query, d_read = _read_back(steps[u].read, d_context)  # (3′)
            d_state = _plus(cell.state, d_query)
            d_y.insert(0, d_token)
            _accumulate(total, prefixed("decoder.", cell.params) | d_read)
        total["target_emb.weight"] = embedding_back(emb, np.stack(d_y, axis=1))
        d_output = None
        if self.attention_size:
            d_h, total["attention.weight_h"] = attention.remember_back(
                _attention(params), source.memory, total["h"], total["k"]
            )
            d_output = pad_packed_sequence_back(
                d_padded=d_h, sequence=encoder.packed, batch_first=True
            )
        else:
            d_state = _plus(d_state, total["h_T"])
        d_final = join_state([d[None] for d in split_state(d_state)])  # (2′)
        rnn = self.encoder.backward(encoder.rnn, d_output, d_final)  # (1′)
        total |= prefixed("encoder.", rnn.params)
        total["source_emb.weight"] = embedding_back(encoder.emb, rnn.x.data)
        return {name: total[name] for name in self.parameter_shapes()}


def _attention(params: Params) -> attention.Params:
    return attention.Params(**part(params, "attention."))


def _read_back(read: attention.Tape | None, d_context: np.ndarray) -> tuple[Any, dict[str, Any]]:
    """δs_{u−1}, and δ of everything that a step reads, by name."""
    if read is None:
        return 0, {"h_T": d_context}
    d = attention.attend_back(read, d_context)
    return d.s, {"h": d.h, "k": d.k, "attention.weight_s": d.weight_s, "attention.v": d.v}


def _plus(state: Any, d_hidden: Any) -> Any:
    """δ of a state, with a further δ of its hidden part."""
    hidden, *rest = split_state(state)
    return join_state([hidden + d_hidden, *rest])


def _accumulate(total: dict[str, Any], more: dict[str, Any]) -> None:
    for name, d in more.items():
        total[name] = total[name] + d if name in total else d
