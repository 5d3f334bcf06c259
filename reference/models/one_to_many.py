"""One to many: a sequence from one vector, for example a caption for an image.

    z    [B, C]   the input vector         U  [L·H, C]   a [L·H]  bridge
    ids  [B, T]   the output sequence      other symbols as in `language_model`

Forward
    (1)  h_0 = z Uᵀ + a                    one state for each layer; the LSTM's c_0 is 0
    (2)  logits = lm(ids, h_0)

Adjoint
    (2′) δh_0, δparameters = lm′(δlogits)
    (1′) δz = δh_0 U   δU = Σ δh_0ᵀ z   δa = Σ δh_0                    Σ over the batch

The input acts only through the initial state, so its gradient comes from δh_0, the end of BPTT.
Parameters: bridge.weight, bridge.bias, and those of the language model.

Source: Xu et al. 2015 for (1).
Differs: (1) is linear and c_0 is 0; in Xu et al. two small nets give h_0 and c_0. Vinyals et al.
2015 use z as the first input instead, and Karpathy & Fei-Fei 2015 add it to the first net input.
Page: docs/models/models.md
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..nets.state import State, join_state, split_state
from .language_model import Tape as LMTape
from .language_model import TinyRNNLM
from .layers import LinearTape, linear, linear_back, linear_init
from .parameters import Params, add_prefix


class Tape(NamedTuple):
    """The tapes of (1) and (2)."""

    bridge: LinearTape
    lm: LMTape


class Grads(NamedTuple):
    """The gradients of z [B, C] and of every parameter."""

    z: np.ndarray
    params: Params


@dataclass(frozen=True)
class OneToMany:
    """A language model whose initial state is a linear map of a vector [C]."""

    context_size: int
    lm: TinyRNNLM

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter, in torch's order."""
        C, width = self.context_size, self.lm.rnn.num_layers * self.lm.rnn.output_size
        return {"bridge.weight": (width, C), "bridge.bias": (width,)} | self.lm.parameter_shapes()

    def init(self, rng: np.random.Generator) -> Params:
        """Every parameter, drawn from torch's distribution, float64."""
        width, C = self.parameter_shapes()["bridge.weight"]
        return add_prefix(linear_init(rng, C, width), "bridge.") | self.lm.init(rng)

    def initial_state(self, params: Params, z: np.ndarray) -> tuple[State, LinearTape]:
        """The initial state from z [B, C], for training and for generation; and the tape."""
        # Differs: linear; a small net in Xu et al.
        flat, bridge = linear(z, params["bridge.weight"], params["bridge.bias"])  # (1)
        rnn = self.lm.rnn
        h_0 = flat.reshape(len(z), rnn.num_layers, rnn.output_size).swapaxes(0, 1)
        rest = [np.zeros_like(h_0, shape=(*h_0.shape[:2], n)) for n in rnn.state_sizes[1:]]
        return join_state([h_0, *rest]), bridge

    def forward(self, params: Params, z: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, Tape]:
        """Logits [B, T, V] of ids [B, T] given z [B, C], and the tape."""
        state, bridge = self.initial_state(params, z)
        logits, _, lm = self.lm.forward(params, ids, state)  # (2)
        return logits, Tape(bridge, lm)

    def backward(self, tape: Tape, d_logits: np.ndarray) -> Grads:
        """The gradients of z and of every parameter from δlogits [B, T, V]."""
        lm = self.lm.backward(tape.lm, d_logits)  # (2′)
        d_h_0, *_ = split_state(lm.state)
        L, B, H = d_h_0.shape
        d_flat = d_h_0.swapaxes(0, 1).reshape(B, L * H)
        bridge = linear_back(tape.bridge, d_flat)  # (1′)
        return Grads(bridge.x, add_prefix(bridge.params, "bridge.") | lm.params)
