"""One step of a cell to first order, as explicit matrices.

    s  [n, S]  the state: h, or h and c concatenated        G·H  rows of the stacked weights
    u = x W_ihᵀ + b_ih   v = h₋ W_hhᵀ + b_hh   [n, G·H]     d(·)  the diagonal matrix of a vector

Given the two net inputs, a cell is elementwise, so three matrices determine the derivative:

    (1)  ds = D ds₋ + U du + V dv                           D [n, S, S]   U, V [n, S, G·H]
    (2)  J = ∂s/∂s₋ = D + V [W_hh, 0]                       0 in the columns of c
    (3)  ∂s/∂W_ih = U ⊗ x   ∂s/∂b_ih = U   ∂s/∂W_hh = V ⊗ h₋   ∂s/∂b_hh = V

RNN
    (4)  D = 0          U = V = d(φ′(a))                        so that J = d(φ′(a)) W_hh
GRU, with v the candidate's net input from h₋
    (5)  D = d(z)       U_r = V_r = d((1−z)(1−n²) v r(1−r))
    (6)                 U_z = V_z = d((h₋−n) z(1−z))
    (7)                 U_n = d((1−z)(1−n²))                    V_n = U_n d(r)
LSTM, the rows of c, then those of m = o ⊙ tanh(c), then those of h = m W_hrᵀ if there is a W_hr
    (8)  dc = d(f) dc₋ + d(g i(1−i)) da_i + d(c₋ f(1−f)) da_f + d(i(1−g²)) da_g          a = u + v
    (9)  dm = d(o(1−tanh²c)) dc + d(tanh(c) o(1−o)) da_o
    (10) dh = W_hr dm + dW_hr m

Source: Pascanu, Mikolov & Bengio 2013 for (4); the others are derived the same way.
Page: docs/dynamics/dynamics.md
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import activations
from ..cells import gates, gru, lstm, rnn
from ..cells.table import CellParams, CellState
from ..nets import arguments
from ..nets.layout import layout_of
from ..nets.net import Net
from ..nets.state import State, initial_fields


class Step(NamedTuple):
    """The inputs and the new state of one step, and its first derivatives."""

    x: np.ndarray
    before: CellState
    after: CellState
    D: np.ndarray
    U: np.ndarray
    V: np.ndarray
    m: np.ndarray | None = None


def linearize(net: Net, params: CellParams, x: np.ndarray, before: CellState) -> Step:
    """One step of a cell from x [n, I] and its State, in any floating dtype.

    Raises ValueError for a cell without a derived Jacobian.
    """
    if net.mode not in STEPS:
        raise ValueError(
            f"Expected a cell with a derived Jacobian, {', '.join(STEPS)}, got {net.mode}."
        )
    return STEPS[net.mode](net, params, x, before)  # (1)


def linearize_steps(
    net: Net, params: dict[str, np.ndarray], x: np.ndarray, state: State | None
) -> Iterator[Step]:
    """Yield the steps of a net with one layer and one direction over x [T, B, I].

    `state` is as in `net.forward`, and may be None. Raises the errors of `net.forward`, and
    ValueError for a net with more layers or directions, where a step has no single Jacobian, for
    batch_first, and for an x that is not [T, B, I].
    """
    arguments.check_forward(net, params, x, state, None)
    is_batch = isinstance(x, np.ndarray) and x.ndim == 3
    if net.num_layers > 1 or net.bidirectional or net.batch_first or not is_batch:
        got = f"x of shape {x.shape}" if isinstance(x, np.ndarray) else f"a {type(x).__name__}"
        raise ValueError(
            f"Expected one layer in one direction and x of shape [T, B, I], time first, but got "
            f"{net} and {got}; pass the layers one at a time."
        )
    return _linearize_steps(net, params, x, initial_state(net, x, state))


def _linearize_steps(
    net: Net, params: dict[str, np.ndarray], x: np.ndarray, before: CellState
) -> Iterator[Step]:
    for x_t in x:
        step = linearize(net, net.cell_params(params, "_l0"), x_t, before)
        yield step
        before = step.after


def initial_state(net: Net, x: np.ndarray, state: State | None) -> Any:
    """The State [B, ·] of a net with one layer; zeros for each part that is None."""
    fields = initial_fields(net, layout_of(x, net.batch_first), x.dtype, state)
    return net.cell.State(*[field[0] for field in fields])


def jacobian(params: CellParams, step: Step) -> np.ndarray:
    """J [n, S, S] of a step."""
    J: np.ndarray = step.D.copy()
    J[:, :, : params.weight_hh.shape[1]] += step.V @ params.weight_hh  # (2)
    return J


def parameter_jacobians(params: CellParams, step: Step) -> dict[str, np.ndarray]:
    """∂s/∂θ [n, S, *θ] at fixed s₋, by the field names of Params, without absent parameters."""
    jacobians = {
        "weight_ih": step.U[..., None] * step.x[:, None, None],  # (3)
        "weight_hh": step.V[..., None] * step.before.h[:, None, None],
    }
    if params.bias_ih is not None:
        jacobians |= {"bias_ih": step.U, "bias_hh": step.V}
    if step.m is not None:
        P, H = step.before.h.shape[1], step.m.shape[1]
        jacobians["weight_hr"] = np.zeros_like(step.U, shape=(*step.U.shape[:2], P, H))
        for p in range(P):
            jacobians["weight_hr"][:, p, p] = step.m  # (10)
    return jacobians


def _rnn(net: Net, params: rnn.Params, x: np.ndarray, before: rnn.State) -> Step:
    (a,) = gates.rnn(params, x, before.h)
    if net.mode == "RNN_RELU":
        h = activations.relu(a)
        slope = activations.relu_slope(h)
    else:
        h = np.tanh(a)
        slope = 1 - h * h
    U = diagonal(slope)  # (4)
    return Step(x, before, rnn.State(h), np.zeros_like(U), U, U)


def _gru(net: Net, params: gru.Params, x: np.ndarray, before: gru.State) -> Step:
    r, z, n, v = gates.gru(params, x, before.h)
    h = (1 - z) * n + z * before.h
    U_n = (1 - z) * (1 - n * n)
    U_r = diagonal(U_n * v * r * (1 - r))  # (5)
    U_z = diagonal((before.h - n) * z * (1 - z))  # (6)
    U = np.concatenate([U_r, U_z, diagonal(U_n)], axis=2)
    V = np.concatenate([U_r, U_z, diagonal(U_n * r)], axis=2)  # (7)
    return Step(x, before, gru.State(h), diagonal(z), U, V)


def _lstm(net: Net, params: lstm.Params, x: np.ndarray, before: lstm.State) -> Step:
    i, f, g, o, c = gates.lstm(params, x, before.h, before.c)
    tanh_c = np.tanh(c)
    slope = (o * (1 - tanh_c * tanh_c))[:, :, None]
    U_o = diagonal(tanh_c * o * (1 - o))
    parts = [g * i * (1 - i), before.c * f * (1 - f), i * (1 - g * g), 0 * o]
    U_c = np.concatenate([diagonal(part) for part in parts], axis=2)  # (8)
    D_c = np.concatenate([np.zeros_like(f, shape=(*f.shape, before.h.shape[1])), diagonal(f)], 2)
    U_m, D_m = slope * U_c, slope * D_c
    U_m[:, :, -o.shape[1] :] += U_o  # (9)
    h = m = o * tanh_c
    if params.weight_hr is not None:
        h, U_m, D_m = m @ params.weight_hr.T, params.weight_hr @ U_m, params.weight_hr @ D_m  # (10)
    U = np.concatenate([U_m, U_c], axis=1)
    D = np.concatenate([D_m, D_c], axis=1)
    return Step(x, before, lstm.State(h, c), D, U, U, None if params.weight_hr is None else m)


def diagonal(v: np.ndarray) -> np.ndarray:
    """d(v) [n, H, H] of v [n, H]."""
    d: np.ndarray = v[:, :, None] * np.eye(v.shape[1], dtype=v.dtype)
    return d


STEPS: dict[str, Callable[..., Step]] = {
    "RNN_TANH": _rnn,
    "RNN_RELU": _rnn,
    "GRU": _gru,
    "LSTM": _lstm,
}
