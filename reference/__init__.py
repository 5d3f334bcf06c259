"""Recurrent networks derived by hand: forward and adjoint, in NumPy only.

The notation of all files
    T, B       steps, sequences          N = Σ n_t    rows: one for each step of each sequence
    I, H, P    input, hidden and         n_t          sequences that reach step t; n_t = B if dense
               projected width           L, D         layers and directions
    x, h, c    input, hidden state,      W [out, in]  weights as torch has them: rows of x times Wᵀ
               cell state; rows [n, ·]   ₋            the step before
    ⊙          elementwise product       σ            logistic sigmoid
    (k), (k′)  an equation and its adjoint; primed equations run in reverse order

    δv = ∂L/∂v, summed over every path from v to the loss L; it has the shape of v. Arguments and
    results are named d_v: a function takes the cotangent d_output = ∂L/∂output and returns the
    gradient d_x = ∂L/∂x. Inside a function, delta_v is a sum to which later lines may still add.

    Gates are in torch's order: i f g o for the LSTM (input, forget, candidate, output), r z n for
    the GRU (reset, update, candidate). Parameters have torch's names. A gradient has the type of
    its variable: the gradient of a Params is a Params.

Forward and backward
    `f(...)` returns its value and a tape; `f_back(tape, d_value)` returns gradients. The tape holds
    the values that the primed equations read. It holds x and the parameters themselves, not
    copies, so do not write into an argument between the two calls. The output of a net is
    read-only if its tape holds the same memory. The outputs of `unroll` and `checkpoint` can be
    written to, but must not be before the backward pass.

    The names of the pair differ in three places: `unroll` and `unroll_back`; `forward` and
    `backward` of a net; `step`, `step_back` and `gradients` of a cell, which write into arrays that
    `unroll` has created for all steps.

Dtypes
    The same lines run in float32, float64, longdouble and complex128. Only two places depend on the
    dtype: the check of arguments, and σ, which caps its exponent below log(max). A function
    that accepts fewer dtypes, for example because it uses LAPACK, says so in its docstring.

Folders, each imports only from those above it
    activations, arithmetic    σ, tanh, relu, softmax; which σ, tanh, relu and sum a net uses
    cells        one step of each cell; `cells.table` has one row for each cell
    sequences    the loop over time, packing, padding, checkpoints
    nets         layers and directions: RNN, GRU, LSTM, and RecurrentNet for any row of the table
    models       language models, classifiers, attention, encoder–decoder, losses, optimisers
    streams      truncated BPTT, states carried from batch to batch
    derivatives  Jacobians, second order, RTRL
    dynamics     how gradients and memories grow and decay

A net computes with the `arithmetic.Arithmetic` that `forward` is given, NumPy's by default.

Start with cells.rnn, cells.gru, cells.lstm (one step), sequences.unroll (time), sequences.packing
(lengths), nets.modules (whole nets). The last line of each docstring names the page that derives
the file's equations; docs/ledger/claims.md links every equation to the file that computes it.
"""

from .nets.cell_modules import GRUCell, LSTMCell, RecurrentCell, RNNCell
from .nets.modules import GRU, LSTM, RNN, RecurrentNet
from .sequences.packing import (
    PackedSequence,
    invert_permutation,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    unpack_sequence,
)
from .sequences.padding import pad_sequence, unpad_sequence

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
