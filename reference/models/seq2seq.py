"""Encoder–decoder, with or without attention: one sequence is encoded, another is decoded from it.

    source   [B, T]  tokens, lengths [B]               E_x [V_x, E]   E_y [V_y, E]  embeddings
    h        [B, T, H]  states of the encoder          W [V_y, H]   b [V_y]         head
    y        [B, U]  the decoder's inputs, y_1 = ⟨bos⟩
    s_u      [B, H]  state of the decoder (s, c for the LSTM)      c_u [B, H]  context
    o        [B, U, V_y]  logits: o_u scores the token after y_u

Forward
    (1)  h, h_T = encoder(E_x[source])        packed: h_T is the state after each row's last token
    (2)  s_0 = h_T                            for the LSTM the pair of h and c
    (3)  c_u = h_T,  or  attention(s_{u−1}, h)         steps after a row's end are masked
    (4)  s_u = cell([E_y[y_u], c_u], s_{u−1})          for u = 1 … U
    (5)  o_u = s_u Wᵀ + b

Adjoint
    (5′) δs_u = δo_u W   δW, δb = Σ over rows and steps
    (4′) δE_y[y_u], δc_u, δs_{u−1} += cell′(δs_u)      for u = U … 1
    (3′) δh_T += δc_u,  or  δs_{u−1}, δh += attention′(δc_u)
    (2′) δh_T += δs_0
    (1′) δE_x[source] = encoder′(δh, δh_T)

In training the inputs are ⟨bos⟩ t_1 … t_n and the labels t_1 … t_n ⟨eos⟩ (teacher forcing); in
decoding the inputs are ⟨bos⟩ and then the decoder's own output.

Source: Sutskever, Vinyals & Le 2014, Cho et al. 2014 (c = h_T); Bahdanau, Cho & Bengio 2015.
Differs: one direction and one layer; the head reads only the decoder's state.
Page: docs/models/seq2seq.md
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..arrays import check_tokens, is_token
from ..nets.cell_modules import CellModule, CellTape, GRUCell, LSTMCell, RNNCell
from ..nets.modules import GRU, LSTM, RNN, Module
from ..nets.stack import Tape as NetTape
from ..nets.state import State, join_state, split_state
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
    embedding,
    embedding_back,
    linear,
    linear_back,
)
from .parameters import Params, add_prefix, select_prefix

CELLS: dict[str, tuple[Callable[..., Module], Callable[..., CellModule]]] = {
    "RNN": (RNN, RNNCell),
    "GRU": (GRU, GRUCell),
    "LSTM": (LSTM, LSTMCell),
}

Memory = np.ndarray | attention.Keys


class Encoded(NamedTuple):
    """The decoder's view of the source."""

    state: State  # s_0
    memory: Memory  # read at every step: h_T [B, H], or with attention the keys


class EncoderTape(NamedTuple):
    """The values that (1′) reads."""

    emb: EmbeddingTape
    packed: PackedSequence
    rnn: NetTape


class StepTape(NamedTuple):
    """The tapes of (3) and (4) for one step; `read` is None without attention."""

    read: attention.Tape | None
    cell: CellTape


class Tape(NamedTuple):
    """The values that `backward` reads."""

    params: Params
    encoded: Encoded
    encoder: EncoderTape
    emb: EmbeddingTape
    steps: list[StepTape]
    head: LinearTape


@dataclass(frozen=True)
class Seq2Seq:
    """Encoder and decoder with the same cell, RNN, GRU or LSTM; attention_size 0: no attention."""

    source_vocab: int
    target_vocab: int
    embedding_size: int
    hidden_size: int
    bos: int
    eos: int
    cell: str = "GRU"
    attention_size: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown cell, for bos or eos not a token, for a negative size."""
        if self.cell not in CELLS:
            raise ValueError(f"Expected cell to be one of {', '.join(CELLS)}, got {self.cell!r}.")
        for name in ("bos", "eos"):
            token = getattr(self, name)
            if not is_token(token) or not 0 <= token < self.target_vocab:
                raise ValueError(
                    f"Expected {name} to be a target token, 0 to {self.target_vocab - 1}, "
                    f"got {token}."
                )
        if self.attention_size < 0:
            raise ValueError(
                f"Expected an attention_size of 0 (none) or more, got {self.attention_size}."
            )

    @property
    def encoder(self) -> Module:
        """The net that encodes the source."""
        # Differs: one layer and one direction; four layers in Sutskever et al., two directions in
        # Bahdanau et al.
        return CELLS[self.cell][0](self.embedding_size, self.hidden_size, batch_first=True)

    @property
    def decoder(self) -> CellModule:
        """The cell that decodes; its input is the last token's embedding and the context."""
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
    ) -> tuple[Encoded, EncoderTape]:
        """s_0 and the decoder's memory from source [B, T] and lengths [B]; and the tape."""
        source = check_tokens("source", source)
        tokens = pack_padded_sequence(source, lengths, batch_first=True, enforce_sorted=False)
        x, emb = embedding(params["source_emb.weight"], tokens.data)
        rows = tokens._replace(data=x)
        packed, final, rnn = self.encoder.forward(select_prefix(params, "encoder."), rows)  # (1)
        h, lengths = pad_packed_sequence(packed, batch_first=True, total_length=source.shape[1])
        state = join_state([f[0] for f in split_state(final)])  # (2)
        memory: Memory = split_state(state)[0]
        if self.attention_size:
            mask = np.arange(source.shape[1]) < lengths[:, None]
            memory = attention.project_keys(_attention_params(params), h, mask)
        return Encoded(state, memory), EncoderTape(emb, packed, rnn)

    def step(
        self, params: Params, y: np.ndarray, state: State, memory: Memory
    ) -> tuple[State, StepTape]:
        """The decoder's state after one token with embedding y [B, E]; and the tape."""
        if isinstance(memory, attention.Keys):
            query = split_state(state)[0]
            context, read = attention.attend(_attention_params(params), query, memory)  # (3)
        else:
            context, read = memory, None
        x = np.concatenate([y, context], axis=1)
        state, tape = self.decoder.forward(select_prefix(params, "decoder."), x, state)  # (4)
        return state, StepTape(read, tape)

    def forward(
        self, params: Params, source: np.ndarray, lengths: np.ndarray, inputs: np.ndarray
    ) -> tuple[np.ndarray, Tape]:
        """Logits [B, U, V_y] of source [B, T], lengths [B] and decoder inputs [B, U]; and the tape.

        Raises IndexError for a token outside its vocabulary, RuntimeError for an empty batch, a
        length that is not 1 … T or tokens that are not integers, ValueError unless inputs have one
        row for each row of the source.
        """
        source, inputs = check_tokens("source", source), check_tokens("inputs", inputs)
        if inputs.ndim != 2 or len(inputs) != len(source) or inputs.shape[1] == 0:
            raise ValueError(
                f"Expected decoder inputs [{len(source)}, U] with U ≥ 1, one row for each source, "
                f"got {list(inputs.shape)}."
            )
        encoded, encoder = self.encode(params, source, lengths)
        y, emb = embedding(params["target_emb.weight"], inputs)
        state, s, steps = encoded.state, [], []
        for u in range(inputs.shape[1]):
            state, tape = self.step(params, y[:, u], state, encoded.memory)
            s.append(split_state(state)[0])
            steps.append(tape)
        # Differs: the head of Bahdanau et al. also reads the context and the last token.
        logits, head = linear(np.stack(s, 1), params["head.weight"], params["head.bias"])  # (5)
        return logits, Tape(params, encoded, encoder, emb, steps, head)

    def backward(self, tape: Tape, d_logits: np.ndarray) -> Params:
        """The gradient of every parameter from δlogits [B, U, V_y]."""
        params, (initial, memory), encoder, emb, steps, head = tape
        head_grads = linear_back(head, d_logits)  # (5′)
        total = add_prefix(head_grads.params, "head.")
        d_state = join_state([np.zeros_like(p) for p in split_state(initial)])
        d_y: list[np.ndarray] = []
        for u in reversed(range(len(steps))):
            d_s = _add_to_hidden(d_state, head_grads.x[:, u])
            cell = self.decoder.backward(steps[u].cell, d_s)  # (4′)
            d_token, d_context = np.split(cell.x, [self.embedding_size], axis=1)
            d_query, d_read = _read_back(steps[u].read, d_context)  # (3′)
            d_state = _add_to_hidden(cell.state, d_query)
            d_y.insert(0, d_token)
            _accumulate(total, add_prefix(cell.params, "decoder.") | d_read)
        total["target_emb.weight"] = embedding_back(emb, np.stack(d_y, axis=1))
        d_output = None
        if isinstance(memory, attention.Keys):
            d_h, total["attention.weight_h"] = attention.project_keys_back(
                _attention_params(params), memory, total["h"], total["k"]
            )
            d_output = pad_packed_sequence_back(
                d_padded=d_h, sequence=encoder.packed, batch_first=True
            )
        else:
            d_state = _add_to_hidden(d_state, total["h_T"])
        d_final = join_state([d[None] for d in split_state(d_state)])  # (2′)
        rnn = self.encoder.backward(encoder.rnn, d_output, d_final)  # (1′)
        total |= add_prefix(rnn.params, "encoder.")
        total["source_emb.weight"] = embedding_back(encoder.emb, rnn.x.data)
        return {name: total[name] for name in self.parameter_shapes()}


def _attention_params(params: Params) -> attention.Params:
    return attention.Params(**select_prefix(params, "attention."))


def _read_back(
    read: attention.Tape | None, d_context: np.ndarray
) -> tuple[np.ndarray | float, Params]:
    """δs_{u−1} by way of the query; and by name δ of the other values that (3) reads."""
    if read is None:
        return 0.0, {"h_T": d_context}
    d = attention.attend_back(read, d_context)
    return d.s, {"h": d.h, "k": d.k, "attention.weight_s": d.weight_s, "attention.v": d.v}


def _add_to_hidden(d_state: State, d_hidden: np.ndarray | float) -> State:
    """δ of a state with `d_hidden` added to δh; the LSTM's δc stays."""
    d_h, *rest = split_state(d_state)
    total: State = join_state([d_h + d_hidden, *rest])
    return total


def _accumulate(total: Params, grads: Params) -> None:
    """Add `grads` to `total` in place, name by name."""
    for name, d in grads.items():
        total[name] = total[name] + d if name in total else d
