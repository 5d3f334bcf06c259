"""Calls that describe no computation: the reference rejects each of them, and so must torch.

An invalid call is a valid problem with one thing changed. It has no true result to compare with:
the only right response is an exception. A result is a fault, and a silent one.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from torch_impl.execution.problem import Problem

from ..cases.case import Case

Alteration = Callable[[Problem], Problem | None]  # None if it does not apply to that problem


class InvalidCall(NamedTuple):
    """One change that makes a problem invalid."""

    alter: Alteration
    cells: bool = False  # whether a loop of nn.*Cell must reject it too


def has_invalid_calls(case: Case) -> bool:
    """Whether a check makes the invalid calls of a case: for every second case, because the numbers
    do not matter to them, and for every sorted pack, because those are few."""
    return case.seed % 2 == 1 or case.layout == "sorted"


def _shapes(problem: Problem) -> list[tuple[int, ...]]:
    """The shapes of h_0, and of c_0 where the cell has one."""
    net = problem.net
    depth = net.num_layers * net.directions
    batch = () if problem.x.ndim == 2 else (_rows(problem),)
    return [(depth, *batch, size) for size in net.state_sizes]


def _rows(problem: Problem) -> int:
    return problem.x.shape[0 if problem.net.batch_first else 1] if problem.x.ndim == 3 else 1


def _with_state(problem: Problem, shapes: Sequence[tuple[int, ...]]) -> Problem:
    """The problem with a random state of these shapes."""
    rng = np.random.default_rng(problem.seed)
    return problem._replace(state=tuple(rng.standard_normal(shape) for shape in shapes))


def _state(
    change: Callable[..., Any], which: slice = slice(None), batched: bool = False
) -> Alteration:
    """Change shapes of the state: change(shape) is another shape, or None if there is none."""

    def alter(problem: Problem) -> Problem | None:
        shapes = _shapes(problem)
        if batched and problem.x.ndim == 2 or not shapes[which]:
            return None
        changed = list(map(change, shapes[which]))
        if None in changed or changed == shapes[which]:
            return None
        shapes[which] = changed
        return _with_state(problem, shapes)

    return alter


def _lstm_dense(alter: Alteration) -> Alteration:
    """Only on dense data: on packed data torch kills the process, see deviations.toml."""
    return lambda problem: alter(problem) if problem.lengths is None else None


def _features(more: int) -> Alteration:
    def alter(problem: Problem) -> Problem | None:
        width = problem.x.shape[-1] + more
        x = np.resize(problem.x, (*problem.x.shape[:-1], width))
        return problem._replace(x=x, state=None) if width else None

    return alter


def _lengths(change: Callable[[list[int]], list[int]], layouts: tuple[bool, ...]) -> Alteration:
    """Change the lengths, if `enforce_sorted` is one of `layouts`."""

    def alter(problem: Problem) -> Problem | None:
        if problem.lengths is None or problem.enforce_sorted not in layouts:
            return None
        changed = change(list(problem.lengths))
        if changed == list(problem.lengths) or not changed:
            return None
        return problem._replace(lengths=tuple(changed), state=None)

    return alter


def _dense(change: Callable[[np.ndarray], np.ndarray]) -> Alteration:
    return lambda p: p._replace(x=change(p.x), state=None) if p.lengths is None else None


def _no_c_0(problem: Problem) -> Problem | None:
    shapes = _shapes(problem)
    return _with_state(problem, shapes[:1]) if len(shapes) == 2 else None


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
