"""Truncated backpropagation through time: the state goes on, the gradient goes back so far.

    block  x_j, y_j   consecutive steps of the same streams, and what the objective needs of them
    s_j               the net's state after block j, s_{−1} the initial one
    ℓ_j, δo_j         the loss of block j and its gradient on the block's output
    k₁, k₂            counted in blocks; a block of one step gives the textbook's steps

Forward
    (1)  o_j, s_j = net(x_j, s_{j−1})                   the value is the uncut run's

Adjoint, after every k₁ blocks, at block j, for the losses of these k₁ blocks
    (1′) δx_i, δs_{i−1}, δθ += net′(δo_i, δs_i)         i = j … j − k₂ + 1, with δs_j = 0,
                                                        δo_i = 0 where an earlier pass had ℓ_i
         δs_{j−k₂} is not passed on: the state that enters is a constant

    strategy     enters block j   k₁  k₂   Σ δθ over all passes
    reset        s_{−1}           1   1    blocks as samples of their own
    detach       s_{j−1}          1   1    the gradient with every entering state constant
    carry        s_{j−1}          1   ∞    the gradient of Σ ℓ: backpropagation through time itself

Memory is that of k₂ blocks, however many there are; under `carry` it grows with the stream.

Source: Williams & Peng 1990, BPTT(h; h′) with h′ = k₁, h = k₂; Sutskever 2013, §2.8.6.
Page: docs/streams/truncated.md
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from ..sequences.packing import PackedSequence

Block = tuple[Any, Any]
Objective = Callable[[Any, Any], tuple[Any, Any]]


class Pass(NamedTuple):
    """One pass backwards: the loss it is of, the state reached, and the gradients."""

    loss: Any  # Σ ℓ of the k₁ blocks
    state: Any  # s_j
    blocks: list[Any]  # what net.backward gave for each block reached, the oldest first
    params: dict[str, np.ndarray]  # their sum


def tbptt(
    net: Any,
    params: dict[str, np.ndarray],
    blocks: Iterable[Block],
    objective: Objective,
    state: Any = None,
    k1: int = 1,
    k2: int | None = 1,
) -> Iterator[Pass]:
    """A pass after every k1 blocks, and one for what is left at the end; k2 = None is k₂ = ∞.

    `net` is a net or model of this package: forward(params, x, state) and backward(tape, d_output,
    d_state). A block is (x, y); objective(output, y) gives the loss and its gradient. Between two
    passes the caller may put new arrays into `params`, which the next block reads; never write into
    the old ones, for tapes still hold them.
    Raises ValueError unless 1 ≤ k1 ≤ k2, TypeError where they are no integers.
    """
    if not isinstance(k1, Integral) or not (k2 is None or isinstance(k2, Integral)):
        raise TypeError(f"Expected k1 and k2 to be integers, or k2 None, got {k1!r} and {k2!r}.")
    if k1 < 1 or (k2 is not None and k2 < k1):
        raise ValueError(
            f"Expected 1 ≤ k1 ≤ k2, got k1 = {k1} and k2 = {k2}: with k2 < k1 "
            "some losses would reach no step at all."
        )
    return _passes(net, params, blocks, objective, state, k1, k2)


def _passes(
    net: Any,
    params: Any,
    blocks: Iterable[Block],
    objective: Objective,
    state: Any,
    k1: int,
    k2: int | None,
) -> Iterator[Pass]:
    tapes: deque[Any] = deque(maxlen=k2)
    d_outputs: deque[Any] = deque(maxlen=k2)
    losses: list[Any] = []
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


def _backward(net: Any, tapes: deque[Any], d_outputs: deque[Any], loss: Any, state: Any) -> Pass:
    """(1′) over the blocks that the tapes remember."""
    d_state, reached = None, []
    for tape, d_output in zip(reversed(tapes), reversed(d_outputs), strict=True):
        reached.append(net.backward(tape, d_output, d_state))  # (1′)
        d_state = reached[-1].state
    d_params = {name: sum(g.params[name] for g in reached) for name in reached[0].params}
    return Pass(loss, state, reached[::-1], d_params)


def _zeros_like(d_output: Any) -> Any:
    """Zeros in the layout of a cotangent; None is zero already."""
    if isinstance(d_output, PackedSequence):
        return d_output._replace(data=np.zeros_like(d_output.data))
    return None if d_output is None else np.zeros_like(d_output)


def reset(
    net: Any, params: Any, blocks: Iterable[Block], objective: Objective, state: Any = None
) -> Iterator[Pass]:
    """Every block starts from the initial state: context and gradient end where it begins."""
    for block in blocks:
        yield from tbptt(net, params, [block], objective, state)


detach = partial(tbptt, k1=1, k2=1)
carry = partial(tbptt, k1=1, k2=None)
