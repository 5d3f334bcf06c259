"""Reset masks: where a new stream begins in a row, the state is replaced; and the adjoint.

    h  [L, B, H]       state; the LSTM's is a pair (h, c)    r  [T, B]  True: a new stream begins
    h_init  [L, 1, H]  the state at the start of every stream

Forward
    (1)  h̃_{t−1} = h_init where r_t, h_{t−1} elsewhere
    (2)  output_t, h_t = net(x_t, h̃_{t−1})

Adjoint
    (2′) δx_t, δh̃_{t−1}, δθ += net′(δoutput_t, δh_t)
    (1′) δh_{t−1} = 0 where r_t, δh̃_{t−1} elsewhere
         δh_init = Σ δh̃_{t−1} where r_t                      Σ over rows and steps

(1) selects. The product form (1 − r) h + r h_init passes NaN and inf of the old stream on, because
NaN times 0 is NaN.

Source: (1′) as in Williams & Zipser 1989, for states replaced by a teacher signal.
Page: docs/streams/streams.md
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..arrays import check_array, check_not_masked
from ..nets import arguments, stack
from ..nets.modules import Module
from ..nets.net import Params
from ..nets.state import State, join_state, split_state


class Segment(NamedTuple):
    """Steps with no reset after the first: the steps, r [B] of the first one, the net's tape."""

    steps: slice
    r: np.ndarray
    tape: stack.Tape


class Grads(NamedTuple):
    """δ of x, of the initial state, of h_init, and of every parameter."""

    x: np.ndarray
    state: State
    init: State
    params: Params


def reset(state: State, r: np.ndarray, init: State | None = None) -> State:
    """h̃ from a state [L, B, H], or a pair of them, and r [B]; `init` = None means h_init = 0.

    Raises TypeError for a state or r that is not an array, None included; ValueError if r is not
    one boolean for each row; RuntimeError for an h_init that is not [L, 1, H] in the dtype of the
    state, because its gradient is that of one row.
    """
    before = split_state(state)
    check_array("r", r, TypeError)
    for h in before:
        check_not_masked("state", h, TypeError)
        if not isinstance(h, np.ndarray):
            raise TypeError(
                f"Expected a state [L, B, H], or a pair of them, got {type(h).__name__}: at the "
                "start of a stream, pass zeros."
            )
    if r.dtype != bool or r.shape != (before[0].shape[1],):
        raise ValueError(
            f"Expected a boolean reset mask [B] = [{before[0].shape[1]}], "
            f"got {r.dtype} {list(r.shape)}."
        )
    if init is not None:
        _check_init(split_state(init), before)
    inits: Sequence[np.ndarray | int] = (
        split_state(init) if init is not None else [0 for _ in before]
    )
    chosen = [np.where(r[:, None], i, h) for i, h in zip(inits, before, strict=True)]  # (1)
    after: State = join_state(chosen)
    return after


def reset_back(r: np.ndarray, d_state: State) -> tuple[State, State]:
    """δh [L, B, H] and δh_init [L, 1, H] of δh̃."""
    rows, after = check_array("r", r, TypeError)[:, None], split_state(d_state)
    for d in after:
        check_not_masked("d_state", d, TypeError)
    d_before = [np.where(rows, 0, d) for d in after]  # (1′)
    d_init = [np.where(rows, d, 0).sum(axis=1, keepdims=True) for d in after]
    return join_state(d_before), join_state(d_init)


def forward(
    net: Module,
    params: Params,
    x: np.ndarray,
    r: np.ndarray,
    state: State,
    init: State | None = None,
) -> tuple[np.ndarray, State, list[Segment]]:
    """Output [T, B, H], final state and tape of x [T, B, I] with resets r [T, B].

    Raises ValueError for a bidirectional or batch_first net, and if r does not fit x; TypeError for
    a packed x; RuntimeError for T = 0; and the errors of `reset` and `net.forward`.
    """
    check_not_masked("x", x, TypeError)
    check_array("r", r, TypeError)
    if not isinstance(x, np.ndarray):
        raise TypeError(f"Expected x [T, B, I], an array, got {type(x).__name__}: pad it.")
    if net.bidirectional or net.batch_first:
        raise ValueError(
            f"Expected a net with one direction and batch_first=False, got {net}: a reset makes "
            "the later steps independent of the earlier ones."
        )
    if len(x) == 0:
        raise RuntimeError("Expected a sequence length larger than 0 in x [T, B, I], got T = 0.")
    if r.shape != x.shape[:2]:
        raise ValueError(f"Expected resets [T, B] = {list(x.shape[:2])}, got {list(r.shape)}.")
    cuts = [0, *(t for t in range(1, len(x)) if r[t].any()), len(x)]
    outputs, tape = [], []
    for first, end in pairwise(cuts):
        state = reset(state, r[first], init)  # (1)
        output, state, net_tape = net.forward(params, x[first:end], state)  # (2)
        outputs.append(output)
        tape.append(Segment(slice(first, end), r[first], net_tape))
    return np.concatenate(outputs), state, tape


def backward(
    net: Module,
    tape: list[Segment],
    d_output: np.ndarray | None,
    d_state: State | None = None,
) -> Grads:
    """Gradients from δoutput [T, B, H] and δ of the final state; None means zeros.

    Raises RuntimeError if δoutput does not have T steps, and the errors of `net.backward`.
    """
    T = tape[-1].steps.stop
    if d_output is not None and len(d_output) != T:
        raise RuntimeError(f"Expected d_output of {T} steps, as of output, got {len(d_output)}.")
    d_x, d_inits, d_params = [], [], []
    for steps, r, net_tape in reversed(tape):
        d_segment = None if d_output is None else d_output[steps]
        grads = net.backward(net_tape, d_segment, d_state)  # (2′)
        d_before, d_init = reset_back(r, grads.state)  # (1′)
        d_state = d_before
        d_x.append(grads.x)
        d_inits.append(split_state(d_init))
        d_params.append(grads.params)
    total_init = join_state([sum(d[1:], start=d[0]) for d in zip(*d_inits, strict=True)])
    total = {
        name: sum((d[name] for d in d_params[1:]), start=first)
        for name, first in d_params[0].items()
    }
    return Grads(np.concatenate(d_x[::-1]), d_before, total_init, total)


def _check_init(inits: Sequence[np.ndarray], before: Sequence[np.ndarray]) -> None:
    if len(inits) != len(before):
        raise RuntimeError(
            f"Expected as many arrays in init as in the state, {len(before)}, got {len(inits)}."
        )
    for name, i, h in zip(("h_init", "c_init"), inits, before, strict=False):
        arguments.check_like(name, i, (len(h), 1, h.shape[2]), h.dtype, "[L, 1, H]", TypeError)
