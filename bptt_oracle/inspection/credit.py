"""How the gradient of one step that the loss reads decays, or grows, with the distance from it.

    ȳ    the cotangent of the last step that the loss reads, of each row by itself
    (1)  δ_{t−1} = J_tᵀ δ_t, from δ = ȳ at that step, with no part of the loss at earlier steps
    (2)  credit[d] = root of the mean over rows of ‖δ at distance d‖² / ‖ȳ‖²

The total gradient adds the parts of all steps that the loss reads: if it reads every step, the
total neither shows that credit vanishes, nor that a total which grows is only a long sum.

Page: docs/inspection/norms.md
"""

from collections.abc import Sequence

import numpy as np

from .layer_call import LayerCall
from .replay import Cotangents, Signals, Trajectory, error_signals, steps_and_rows


def signals_and_credit(
    calls: Sequence[LayerCall],
    trajectories: Sequence[Trajectory],
    cotangents: Sequence[Cotangents],
) -> tuple[list[Signals], np.ndarray]:
    """δ of every call, and `credit` [K], of calls that carry the state on.

    Credit is followed back to the call that starts without a graph of the calls before.
    """
    reads = [_reads(*pair) for pair in zip(calls, cotangents, strict=True)]
    k = max((k for k, read in enumerate(reads) if read.any()), default=None)
    signals = [
        error_signals(trajectory, one)[0]
        for j, (trajectory, one) in enumerate(zip(trajectories, cotangents, strict=True))
        if j != k
    ]
    if k is None:
        return signals, np.zeros(1)
    T = len(reads[k])
    last = np.where(reads[k].any(axis=0), T - 1 - reads[k][::-1].argmax(axis=0), -1)  # [B]
    is_last = np.arange(T)[:, None] == last
    if (reads[k] == is_last).all():
        (of_last,) = error_signals(trajectories[k], cotangents[k])
        signals.insert(k, of_last)
    else:
        step, row = steps_and_rows(calls[k].batch_sizes)
        d_last = np.where(is_last[step, row][:, None], cotangents[k].output, 0)
        alone = cotangents[k]._replace(output=d_last)
        total, of_last = error_signals(trajectories[k], cotangents[k], alone)
        signals.insert(k, total)
    parts = [_by_step_and_row(calls[k], of_last)]
    while k > 0 and calls[k].attached:
        k -= 1
        nothing = np.zeros_like(cotangents[k].output)
        (of_last,) = error_signals(trajectories[k], Cotangents(nothing, of_last.of_initial))
        parts.insert(0, _by_step_and_row(calls[k], of_last))
    before = sum(len(part) for part in parts[:-1])
    return signals, _decay(np.concatenate(parts), last + before, last >= 0)


def _decay(squares: np.ndarray, last: np.ndarray, is_read: np.ndarray) -> np.ndarray:
    """(2) from ‖δ‖² [T, B] and the step `last` [B] of ȳ.

    Rows that the loss does not read do not count, nor do rows that are shorter than the distance.
    """
    rows = np.flatnonzero(is_read)
    t = last[rows] - np.arange(last[rows].max() + 1)[:, None]  # [K, rows]
    with np.errstate(all="ignore"):
        ratio = squares[t, rows] / squares[last[rows], rows]
    decay: np.ndarray = np.sqrt(np.where(t >= 0, ratio, 0).sum(axis=1) / (t >= 0).sum(axis=1))
    return decay


def _reads(call: LayerCall, cotangents: Cotangents) -> np.ndarray:
    """Whether the loss reads step t of row b directly, [T, B]; a final state is of the last."""
    step, row = steps_and_rows(call.batch_sizes)
    read = np.zeros((len(call.batch_sizes), len(cotangents.final.h)), dtype=bool)
    read[step, row] = cotangents.output.any(axis=1)
    length = np.bincount(row)
    of_final = np.any([field.any(axis=1) for field in cotangents.final], axis=0)
    read[length - 1, np.arange(len(length))] |= of_final
    return read


def _by_step_and_row(call: LayerCall, signals: Signals) -> np.ndarray:
    """‖δ‖² [T, B] over all fields of the state; 0 where a sequence has ended."""
    step, row = steps_and_rows(call.batch_sizes)
    squares = np.zeros((len(call.batch_sizes), len(signals.of_initial.h)))
    squares[step, row] = sum(squared_norms(field) for field in signals.of_states)
    return squares


def squared_norms(rows: np.ndarray) -> np.ndarray:
    """‖·‖² [N] of every row [N, ·], in float64, which holds the square of every float32."""
    with np.errstate(all="ignore"):
        squares: np.ndarray = np.einsum("nh,nh->n", rows, rows, dtype=np.float64)
    return squares
