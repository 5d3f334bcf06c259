"""Calls that describe no computation: the reference refuses each of them, and so must torch.

A refusal takes a problem that is well and spoils one thing in it. What it then describes has no
truth to compare with; the only right answer is an exception. An answer that comes all the same is
a wrong one, and silent.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from torch_impl.execution.backend import flags
from torch_impl.execution.calls import Call, Forward, call_of, forward_of
from torch_impl.execution.catalogue import PATHS
from torch_impl.execution.problem import Problem

from ..cases.case import Case

Alteration = Callable[[Problem], Problem | None]  # None where it cannot be done to that problem


class InvalidCall(NamedTuple):
    """One thing spoiled; `cells` where a loop of nn.*Cell must refuse it too."""

    spoil: Alteration
    cells: bool = False


def has_invalid_calls(case: Case) -> bool:
    """Whether a check asks what becomes of a case when it is spoiled: of every second one, for
    what is refused is so whatever the numbers are, and of every sorted pack, for they are few."""
    return case.seed % 2 == 1 or case.layout == "sorted"


def responses(
    problem: Problem, wrap: Callable[[Forward], Forward] | None = None
) -> list[tuple[str, str]]:
    """Each spoiled call by name, and what torch.nn says to it: `exception: message`, or nothing
    where it answers.

    `wrap` puts something around torch's way to answer, as in `torch_impl.execution.run.run`.
    Nothing runs through oneDNN, which does not ask for the sizes of packed data: it would end the
    process, see deviations.toml.
    """
    ways = {
        kind: forward_of(kind) if wrap is None else wrap(forward_of(kind))
        for kind in ("module", "cells")
    }
    with_cells = problem.lengths is None and not getattr(problem.net, "proj_size", 0)
    well = call_of(problem._replace(state=None), _tensor, ())
    told = []
    with torch.no_grad(), flags(PATHS["cpu-native"]):
        for name, refusal in INVALID_CALLS.items():
            spoiled = refusal.spoil(problem)
            if spoiled is None:
                continue
            call = well._replace(
                x=_tensor(spoiled.x),
                lengths=spoiled.lengths,
                state=None if spoiled.state is None else [_tensor(s) for s in spoiled.state],
            )
            told.append((f"{name}: module", _answer(ways["module"], call)))
            if refusal.cells and with_cells:
                told.append((f"{name}: cells", _answer(ways["cells"], call)))
    return told


def _tensor(array: np.ndarray, strided: bool = False) -> torch.Tensor:
    """Single precision, contiguous: how numbers lie has no part in whether they are refused."""
    return torch.tensor(array, dtype=torch.float32)


def _answer(forward_of: Forward, call: Call) -> str:
    """The exception of one call."""
    try:
        forward_of(call)
    except Exception as error:  # any exception is a refusal
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return ""


def _shapes(problem: Problem) -> list[tuple[int, ...]]:
    """Of h_0, and of an LSTM's c_0."""
    net = problem.net
    depth = net.num_layers * (1 + net.bidirectional)
    widths = [getattr(net, "proj_size", 0) or net.hidden_size, net.hidden_size]
    batch = () if problem.x.ndim == 2 else (_rows(problem),)
    return [(depth, *batch, width) for width in widths[: 1 + (net.mode == "LSTM")]]


def _rows(problem: Problem) -> int:
    return problem.x.shape[0 if problem.net.batch_first else 1] if problem.x.ndim == 3 else 1


def _filled(problem: Problem, shapes: Sequence[tuple[int, ...]]) -> Problem:
    """The problem with a state of these shapes."""
    rng = np.random.default_rng(problem.seed)
    return problem._replace(state=tuple(rng.standard_normal(shape) for shape in shapes))


def _state(
    change: Callable[..., Any], which: slice = slice(None), batched: bool = False
) -> Alteration:
    """Spoil shapes of the state: change(shape) is another shape, or None where it cannot be."""

    def spoil(problem: Problem) -> Problem | None:
        shapes = _shapes(problem)
        if batched and problem.x.ndim == 2 or not shapes[which]:
            return None
        changed = list(map(change, shapes[which]))
        if None in changed or changed == shapes[which]:
            return None
        shapes[which] = changed
        return _filled(problem, shapes)

    return spoil


def _lstm_dense(spoil: Alteration) -> Alteration:
    """Only there: on packed data torch ends the process, see deviations.toml."""
    return lambda problem: spoil(problem) if problem.lengths is None else None


def _features(more: int) -> Alteration:
    def spoil(problem: Problem) -> Problem | None:
        width = problem.x.shape[-1] + more
        x = np.resize(problem.x, (*problem.x.shape[:-1], width))
        return problem._replace(x=x, state=None) if width else None

    return spoil


def _lengths(change: Callable[[list[int]], list[int]], layouts: tuple[bool, ...]) -> Alteration:
    """Spoil the lengths, where `enforce_sorted` is one of `layouts`."""

    def spoil(problem: Problem) -> Problem | None:
        if problem.lengths is None or problem.enforce_sorted not in layouts:
            return None
        changed = change(list(problem.lengths))
        if changed == list(problem.lengths) or not changed:
            return None
        return problem._replace(lengths=tuple(changed), state=None)

    return spoil


def _dense(change: Callable[[np.ndarray], np.ndarray]) -> Alteration:
    return lambda p: p._replace(x=change(p.x), state=None) if p.lengths is None else None


def _no_c_0(problem: Problem) -> Problem | None:
    shapes = _shapes(problem)
    return _filled(problem, shapes[:1]) if len(shapes) == 2 else None


def _no_steps(problem: Problem) -> Problem | None:
    if problem.lengths is not None:
        return None
    x = problem.x[:, :0] if problem.net.batch_first and problem.x.ndim == 3 else problem.x[:0]
    return problem._replace(x=x, state=None)


C_0 = slice(1, 2)
BOTH = (True, False)
INVALID_CALLS: dict[str, InvalidCall] = {
    "a layer too few in the state": InvalidCall(_state(lambda s: (s[0] - 1, *s[1:]))),
    "a layer too many in the state": InvalidCall(_state(lambda s: (s[0] + 1, *s[1:]))),
    "a layer too few in c_0": InvalidCall(_lstm_dense(_state(lambda s: (s[0] - 1, *s[1:]), C_0))),
    "a layer too many in c_0": InvalidCall(_state(lambda s: (s[0] + 1, *s[1:]), C_0)),
    "a state of batch 1": InvalidCall(_state(lambda s: (s[0], 1, s[2]), batched=True), cells=True),
    "a c_0 of batch 1": InvalidCall(_state(lambda s: (s[0], 1, s[2]), C_0, True), cells=True),
    "layers and batch swapped in the state": InvalidCall(
        _state(lambda s: (s[1], s[0], s[2]), batched=True)
    ),
    "a row too few in the state": InvalidCall(
        _state(lambda s: (s[0], s[1] - 1, s[2]) if s[1] > 1 else None, batched=True), cells=True
    ),
    "a row too many in the state": InvalidCall(
        _state(lambda s: (s[0], s[1] + 1, s[2]), batched=True), cells=True
    ),
    "a row too many in c_0": InvalidCall(
        _state(lambda s: (s[0], s[1] + 1, s[2]), C_0, True), cells=True
    ),
    "a unit too many in the state": InvalidCall(_state(lambda s: (*s[:-1], s[-1] + 1)), cells=True),
    "a state of width 1": InvalidCall(_state(lambda s: (*s[:-1], 1)), cells=True),
    "a state with a batch for an input without, or none for one with": InvalidCall(
        lambda p: _state(lambda s: (s[0], 1, s[1]) if len(s) == 2 else s[::2])(p)
    ),
    "no c_0": InvalidCall(_no_c_0),
    "a feature too many": InvalidCall(_features(1), cells=True),
    "a feature too few": InvalidCall(_features(-1), cells=True),
    "an input of one dimension": InvalidCall(_dense(lambda x: x.reshape(-1)[: x.shape[-1]])),
    "an input of four dimensions": InvalidCall(_dense(lambda x: x.reshape(-1, 1, 1, x.shape[-1]))),
    "no steps": InvalidCall(_no_steps),
    "a length of zero": InvalidCall(_lengths(lambda n: [*n[:-1], 0], BOTH)),
    "lengths that grow": InvalidCall(_lengths(lambda n: n[::-1], (True,))),
    "a length too few": InvalidCall(_lengths(lambda n: n[:-1], BOTH)),
    "a length too many": InvalidCall(_lengths(lambda n: [*n, n[-1]], BOTH)),
    "a length beyond the last step": InvalidCall(_lengths(lambda n: [max(n) + 1, *n[1:]], BOTH)),
}
