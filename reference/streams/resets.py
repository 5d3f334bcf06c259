"""Reset masks: where a new stream begins in a row, the row's state begins anew; and the adjoint.

    h  [L, B, H]       state; the LSTM's is a pair (h, c)    r  [T, B]  True: a new stream begins
    h_init  [L, 1, H]  the state that every stream begins with

Forward
    (1)  h̃_{t−1} = h_init where r_t, h_{t−1} elsewhere
    (2)  output_t, h_t = net(x_t, h̃_{t−1})

Adjoint
    (2′) δx_t, δh̃_{t−1}, δθ += net′(δoutput_t, δh_t)
    (1′) δh_{t−1} = 0 where r_t, δh̃_{t−1} elsewhere
         δh_init = Σ δh̃_{t−1} where r_t                      Σ over rows and steps

(1) selects. As a product, (1 − r) h + r h_init, it lets NaN and inf of the old stream through: NaN
times 0 is NaN.

Source: (1′) as in Williams & Zipser 1989, for states that a teacher replaces.
Page: docs/streams/streams.md
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..nets import arguments
from ..nets.state import join_state, split_state


class Stretch(NamedTuple):
    """Steps without a reset but at their first: the steps, that first r [B], the net's tape."""

    steps: slice
    r: np.ndarray
    tape: Any


class Grads(NamedTuple):
    """δ of x, of the state that came in, of h_init, and of every parameter."""

    x: np.ndarray
    state: Any
    init: Any
    params: dict[str, np.ndarray]


def reset(state: Any, r: np.ndarray, init: Any = None) -> Any:
    """h̃ of a state [L, B, H], or a pair of them, and r [B]; h_init is 0 where it is not given.

    Raises TypeError for a state that is no array, None among them; ValueError when r is not one
    boolean for each row; RuntimeError for an h_init that is not [L, 1, H] in the dtype of the
    state, for its gradient is that of one row.
    """
    before = split_state(state)
    for given in before:
        if not isinstance(given, np.ndarray):
            raise TypeError(
                f"Expected a state [L, B, H], or a pair of them, got {type(given).__name__}: where "
                "nothing came before, give zeros."
            )
    if r.dtype != bool or r.shape != (before[0].shape[1],):
        raise ValueError(
            f"Expected a boolean reset mask [B] = [{before[0].shape[1]}], "
            f"got {r.dtype} {list(r.shape)}."
        )
    if init is not None:
        _refuse_unlike(split_state(init), before)
    inits: Sequence[Any] = split_state(init) if init is not None else [0 for _ in before]
    chosen = [np.where(r[:, None], i, h) for i, h in zip(inits, before, strict=True)]  # (1)
    return join_state(chosen)


def reset_back(r: np.ndarray, d_state: Any) -> tuple[Any, Any]:
    """δh [L, B, H] and δh_init [L, 1, H] of δh̃."""
    rows, after = r[:, None], split_state(d_state)
    d_before = [np.where(rows, 0, d) for d in after]  # (1′)
    d_init = [np.where(rows, d, 0).sum(axis=1, keepdims=True) for d in after]
    return join_state(d_before), join_state(d_init)


def forward(
    net: Any, params: Any, x: np.ndarray, r: np.ndarray, state: Any, init: Any = None
) -> tuple[np.ndarray, Any, list[Stretch]]:
    """Output [T, B, H], final state and tape of x [T, B, I] with resets r [T, B].

    Raises ValueError for a net with two directions or batch first, and when r does not fit x;
    TypeError for an x that is packed, RuntimeError for no steps at all; and what `reset` raises,
    and `net.forward`.
    """
    if not isinstance(x, np.ndarray):
        raise TypeError(f"Expected x [T, B, I], an array, got {type(x).__name__}: pad it.")
    if net.bidirectional or net.batch_first:
        raise ValueError(
            "Expected a net that reads one way, time first: a reset says that what follows does "
            "not know what came before."
        )
    if len(x) == 0:
        raise RuntimeError("Expected a sequence length larger than 0 in x [T, B, I], got T = 0.")
    if r.shape != x.shape[:2]:
        raise ValueError(f"Expected resets [T, B] = {list(x.shape[:2])}, got {list(r.shape)}.")
    cuts = [0, *(t for t in range(1, len(x)) if r[t].any()), len(x)]
    outputs, tape = [], []
    for first, end in pairwise(cuts):
        state = reset(state, r[first], init)  # (1)
        output, state, stretch = net.forward(params, x[first:end], state)  # (2)
        outputs.append(output)
        tape.append(Stretch(slice(first, end), r[first], stretch))
    return np.concatenate(outputs), state, tape


def backward(net: Any, tape: list[Stretch], d_output: np.ndarray, d_state: Any = None) -> Grads:
    """Gradients from δoutput [T, B, H] and δ of the final state, each 0 where it is None.

    Raises RuntimeError for a δoutput of other than T steps, and what `net.backward` raises.
    """
    T = tape[-1].steps.stop
    if d_output is not None and len(d_output) != T:
        raise RuntimeError(f"Expected d_output of {T} steps, as of output, got {len(d_output)}.")
    d_x, d_inits, d_params = [], [], []
    for steps, r, stretch in reversed(tape):
        d_stretch = None if d_output is None else d_output[steps]
        grads = net.backward(stretch, d_stretch, d_state)  # (2′)
        d_state, d_init = reset_back(r, grads.state)  # (1′)
        d_x.append(grads.x)
        d_inits.append(split_state(d_init))
        d_params.append(grads.params)
    total_init = join_state([sum(d[1:], start=d[0]) for d in zip(*d_inits, strict=True)])
    total = {name: sum(d[name] for d in d_params) for name in d_params[0]}
    return Grads(np.concatenate(d_x[::-1]), d_state, total_init, total)


def _refuse_unlike(inits: Sequence[np.ndarray], before: Sequence[np.ndarray]) -> None:
    if len(inits) != len(before):
        raise RuntimeError(
            f"Expected as many arrays in init as in the state, {len(before)}, got {len(inits)}."
        )
    for name, i, h in zip(("h_init", "c_init"), inits, before, strict=False):
        arguments.check_like(name, i, (len(h), 1, h.shape[2]), h.dtype, "[L, 1, H]", TypeError)
