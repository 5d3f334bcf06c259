"""Truncated backpropagation through time: the state is carried on, the gradient is cut.

    block  x_j, y_j   consecutive steps of the same streams, and the targets of the objective
    s_j               the net's state after block j, s_{−1} the initial one
    ℓ_j, δo_j         the loss of block j and its gradient on the block's output
    k₁, k₂            counted in blocks; with blocks of one step, in steps as in the textbooks

Forward
    (1)  o_j, s_j = net(x_j, s_{j−1})                   the same values as without cuts

Adjoint, after every k₁ blocks, at block j, for the losses of these k₁ blocks
    (1′) δx_i, δs_{i−1}, δθ += net′(δo_i, δs_i)         i = j … j − k₂ + 1, with δs_j = 0,
                                                        δo_i = 0 if an earlier pass used ℓ_i
         δs_{j−k₂} is dropped: the entering state is a constant

    strategy     enters block j   k₁  k₂   Σ δθ over all passes
    reset        s_{−1}           1   1    blocks as separate samples
    detach       s_{j−1}          1   1    the gradient with every entering state constant
    carry        s_{j−1}          1   ∞    the gradient of Σ ℓ: backpropagation through time itself

Memory is that of k₂ blocks, for any number of blocks; with `carry` it grows with the stream.

Source: Williams & Peng 1990, BPTT(h; h′) with h′ = k₁, h = k₂; Sutskever 2013, §2.8.6.
Page: docs/streams/truncated.md
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..nets.net import Params
from ..sequences.packing import PackedSequence

Opaque = Any  # passed between the functions of a net or objective, and not read here
Block = tuple[Opaque, Opaque]
Objective = Callable[[Opaque, Opaque], tuple[Opaque, Opaque]]


class Model(Protocol):
    """A net or model of this package."""

    def forward(
        self, params: Params, x: Opaque, state: Opaque = None
    ) -> tuple[Opaque, Opaque, Opaque]:
        """Output, final state and tape."""

    def backward(self, tape: Opaque, d_output: Opaque, d_state: Opaque = None) -> Opaque:
        """Gradients with the fields `state` and `params`."""


class Pass(NamedTuple):
    """One backward pass: its loss, the state after its last block, and the gradients."""

    loss: Opaque  # Σ ℓ of the k₁ blocks
    state: Opaque  # s_j
    blocks: list[Opaque]  # the Grads of net.backward for each block reached, the oldest first
    params: dict[str, np.ndarray]  # their sum


def tbptt(
    net: Model,
    params: Params,
    blocks: Iterable[Block],
    objective: Objective,
    state: Opaque = None,
    k1: int = 1,
    k2: int | None = 1,
) -> Iterator[Pass]:
    """Yield a Pass after every k1 blocks, and one for the blocks left at the end.

    A block is (x, y); objective(output, y) returns the loss and its gradient. k2 = None means
    k₂ = ∞. Between two passes the caller may put new arrays into `params`, which the next block
    reads; never write into the old arrays, because tapes still hold them.
    Raises TypeError if k1 or k2 is not an integer, ValueError unless 1 ≤ k1 ≤ k2.
    """
    if not isinstance(k1, Integral) or not (k2 is None or isinstance(k2, Integral)):
        raise TypeError(f"Expected k1 and k2 to be integers, or k2 None, got {k1!r} and {k2!r}.")
    if k1 < 1 or (k2 is not None and k2 < k1):
        raise ValueError(
            f"Expected 1 ≤ k1 ≤ k2, got k1 = {k1} and k2 = {k2}: with k2 < k1 "
            "some losses would have no gradient at all."
        )
    return _passes(net, params, blocks, objective, state, k1, k2)


def _passes(
    net: Model,
    params: Params,
    blocks: Iterable[Block],
    objective: Objective,
    state: Opaque,
    k1: int,
    k2: int | None,
) -> Iterator[Pass]:
    tapes: deque[Opaque] = deque(maxlen=k2)
    d_outputs: deque[Opaque] = deque(maxlen=k2)
    losses: list[Opaque] = []
    for x, y in blocks:
        output, state, tape = net.forward(params, x, state)  # (1)
        loss, d_output = objective(output, y)
        tapes.append(tape)
        d_outputs.append(d_output)
        losses.append(loss)
        if len(losses) == k1:
            yield _backward(net, tapes, d_outputs, sum(losses), state)
            d_outputs = deque(map(_zeros_like, d_outputs), maxlen=k2)
            losses = []
    if losses:
        yield _backward(net, tapes, d_outputs, sum(losses), state)


def _backward(
    net: Model, tapes: deque[Opaque], d_outputs: deque[Opaque], loss: Opaque, state: Opaque
) -> Pass:
    """One backward pass (1′) over the blocks whose tapes are stored."""
    d_state = None
    grads: list[Opaque] = []
    for tape, d_output in zip(reversed(tapes), reversed(d_outputs), strict=True):
        grads.append(net.backward(tape, d_output, d_state))  # (1′)
        d_state = grads[-1].state
    d_params = {name: sum(g.params[name] for g in grads) for name in grads[0].params}
    return Pass(loss, state, grads[::-1], d_params)


def _zeros_like(d_output: Opaque) -> Opaque:
    """Zeros in the layout of a cotangent; None, which means zeros, stays None."""
    if isinstance(d_output, PackedSequence):
        return d_output._replace(data=np.zeros_like(d_output.data))
    return None if d_output is None else np.zeros_like(d_output)


def reset(
    net: Model, params: Params, blocks: Iterable[Block], objective: Objective, state: Opaque = None
) -> Iterator[Pass]:
    """Start every block from the initial state; neither state nor gradient crosses a cut."""
    for block in blocks:
        yield from tbptt(net, params, [block], objective, state)


detach = partial(tbptt, k1=1, k2=1)
carry = partial(tbptt, k1=1, k2=None)
