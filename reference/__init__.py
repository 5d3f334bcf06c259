"""Recurrent networks derived by hand: forward and adjoint, in NumPy alone.

The notation of all files
    T, B       steps and sequences       N = Σ n_t    rows: one for every real step of a sequence
    I, H, P    input, hidden and         n_t          sequences alive at step t; n_t = B if dense
               projected width           L, D         layers and directions
    x, h, c    input, hidden state,      W [out, in]  weights as torch has them: rows of x times Wᵀ
               cell state; rows [n, ·]   ₋            of the step before
    ⊙          elementwise product       σ            logistic sigmoid
    (k), (k′)  an equation and its adjoint; the primed ones run in reverse order

    δv = ∂L/∂v, summed over every path from v to the loss L, has v's shape. Across a boundary, as an
    argument or a result, it is called d_v: a cotangent comes in as d_output, a gradient leaves as
    d_x. delta_v is a total that still runs.

    Gates lie in torch's order: i f g o for the LSTM, r z n for the GRU. Parameters have torch's
    names. A gradient has the type of what it belongs to: a Params for Params, a State for a State.

`f(...)` returns its value and a tape, which holds what the primed equations read and is never
written again; `f_back(tape, d_value)` returns gradients. Between the two write into no argument:
the tape holds x and the parameters themselves. A net's output that its tape shares is read-only;
those of `unroll` and `checkpoint`, which nets are made of, are not.

The same lines run in float32, float64, longdouble and complex128: the dtype is looked at where
something is refused or σ's exponent is capped, never to compute another way. Where fewer will do,
for LAPACK say, the docstring has them.

Where to begin: rnn, gru, lstm (one step), unroll (time), packing (lengths), modules (whole nets).
Each file's page, named in its last line, derives what the file states; docs/ledger/claims.md leads
from every equation to the line that computes it.
"""

from .nets.cell_modules import GRUCell, LSTMCell, RecurrentCell, RNNCell
from .nets.modules import GRU, LSTM, RNN, RecurrentNet
from .sequences.packing import (
    PackedSequence,
    invert_permutation,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpack_sequence,
    unpad_sequence,
)

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "PackedSequence",
    "RNNCell",
    "RecurrentCell",
    "RecurrentNet",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]
