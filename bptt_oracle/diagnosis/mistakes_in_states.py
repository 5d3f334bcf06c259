"""Mistakes in the states before the first step and after the last one."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from torch_impl.execution.problem import Problem

from .equations import CELLS, LSTMS, Equations, Fields, clear_padding
from .mistake import Change, Mistake
from .tape import Tape, Var


def state_mistakes() -> Iterator[Mistake]:
    """All mistakes of this file."""
    yield from _initial_states()
    yield from _final_states()


def _orders() -> dict[str, Callable[[int, int], np.ndarray]]:
    """Wrong orders of the L·D states, as functions of L and D."""
    return {
        "of the two directions swapped": lambda L, D: np.arange(L * D).reshape(L, D)[:, ::-1],
        "of the layers in reverse order": lambda L, D: np.arange(L * D).reshape(L, D)[::-1],
        "read direction by direction": lambda L, D: np.arange(L * D).reshape(D, L).T,
        "ordered direction by direction": lambda L, D: np.arange(L * D).reshape(L, D).T,
    }


def _initial_states() -> Iterator[Mistake]:
    """Initial states; gradients follow the mistake, or are in the order as read."""

    def ignored(*fields: int) -> Callable[[Tape, Fields, Problem], Fields]:
        return lambda tape, given, problem: [
            tape.constant(f.value * 0) if k in fields else f for k, f in enumerate(given)
        ]

    def mistake(
        name: str, initial: Callable[[Tape, Fields, Problem], Fields], cells: Sequence[str] = CELLS
    ) -> Mistake:
        return Mistake(name, (Change(Equations(initial=initial)),), cells)

    yield mistake("the initial state ignored", ignored(0, 1))
    yield mistake("h_0 ignored, c_0 used", ignored(0), LSTMS)
    yield mistake("c_0 ignored, h_0 used", ignored(1), LSTMS)
    for order, indices in _orders().items():
        yield mistake(f"initial states {order}", _take(indices))
    yield Mistake(
        "the first layer's initial state in every layer",
        tuple(Change(Equations(initial=take)) for take in (_take_first, _take_very_first)),
    )
    yield mistake("the forward direction's initial state in both directions", _take_forward)
    yield mistake("h_0 and c_0 swapped", lambda tape, given, problem: _swap(given, problem), LSTMS)
    yield mistake(
        "initial states not put in the order of the sorted rows",
        lambda tape, given, problem: [f[:, _unsorted(problem)] for f in given],
    )


def _one_for_both(which: int) -> Callable[[Tape, Fields, Problem], Fields]:
    return lambda tape, fields, problem: (
        fields if problem.net.proj_size else [fields[which], fields[which]]
    )


def _swap(fields: Fields, problem: Problem) -> Fields:
    return fields if problem.net.proj_size else fields[::-1]


def _take(
    indices: Callable[[int, int], np.ndarray],
) -> Callable[[Tape, Fields, Problem], Fields]:
    def change(tape: Tape, fields: Fields, problem: Problem) -> Fields:
        net = problem.net
        return [f[indices(net.num_layers, net.directions).ravel()] for f in fields]

    return change


def _take_first(tape: Tape, fields: Fields, problem: Problem) -> Fields:
    D = problem.net.directions
    return [tape.join([f[:D]] * problem.net.num_layers, 0) for f in fields]


def _take_very_first(tape: Tape, fields: Fields, problem: Problem) -> Fields:
    return [tape.join([f[:1]] * len(f.value), 0) for f in fields]


def _take_last(tape: Tape, fields: Fields, problem: Problem) -> Fields:
    D = problem.net.directions
    return [tape.join([f[-D:]] * problem.net.num_layers, 0) for f in fields]


def _take_forward(tape: Tape, fields: Fields, problem: Problem) -> Fields:
    D = problem.net.directions
    return [tape.stack([f[k - k % D] for k in range(len(f.value))]) for f in fields]


def _sorted(problem: Problem) -> np.ndarray:
    """The rows of a pack in the order of descending lengths."""
    B = problem.x.shape[0 if problem.net.batch_first else -2] if problem.x.ndim == 3 else 1
    lengths = problem.lengths or (1,) * B
    return np.argsort(-np.array(lengths), kind="stable")


def _unsorted(problem: Problem) -> np.ndarray:
    return np.argsort(_sorted(problem))


def _final_states() -> Iterator[Mistake]:
    """Final states. The gradient follows the mistake, or the backward pass is right."""

    def mistake(
        name: str,
        change: Callable[[Tape, Fields, Problem], Fields],
        cells: Sequence[str] = CELLS,
    ) -> Mistake:
        def final(tape: Tape, fields: Fields, y: Var, problem: Problem) -> Fields:
            return change(tape, fields, problem)

        return _with_right_backward(name, Equations(final=final), cells)

    for order, indices in _orders().items():
        yield mistake(f"final states {order}", _take(indices))
    yield mistake("the last layer's final state in every layer", _take_last)
    yield mistake("h_n and c_n swapped", lambda tape, f, problem: _swap(f, problem), LSTMS)
    yield mistake("h_n in place of c_n", _one_for_both(0), LSTMS)
    yield mistake("c_n in place of h_n", _one_for_both(1), LSTMS)
    yield mistake(
        "final states left in the order of the sorted rows",
        lambda tape, fields, problem: [f[:, _sorted(problem)] for f in fields],
    )

    def last_column(tape: Tape, fields: Fields, y: Var, problem: Problem) -> Fields:
        cleared = clear_padding(tape, y, problem)
        return _with_last_layer(tape, fields, cleared, problem, reverse_too=False)

    yield _merged(
        "the last column of the output in place of h_n",
        Equations(final=last_column),
        Equations(ends=_last_of(forward=True)),
    )

    def last_output(tape: Tape, fields: Fields, y: Var, problem: Problem) -> Fields:
        if problem.net.directions == 1:
            return fields
        return _with_last_layer(tape, fields, y, problem, reverse_too=True)

    def last_of_cleared(tape: Tape, fields: Fields, y: Var, problem: Problem) -> Fields:
        return last_output(tape, fields, clear_padding(tape, y, problem), problem)

    def last_of_row(tape: Tape, fields: Fields, y: Var, problem: Problem) -> Fields:
        T, B = y.value.shape[:2]
        ends = np.array(problem.lengths or [T] * B) - 1
        return last_output(tape, fields, y[ends, np.arange(B)].reshape(1, B, -1), problem)

    yield _merged(
        "the last step of the output in place of h_n of the reverse direction",
        *(Equations(final=final) for final in (last_output, last_of_cleared, last_of_row)),
        *(
            Equations(ends=_last_of(forward=forward, reverse=True, cleared=cleared))
            for forward in (False, True)
            for cleared in (False, True)
        ),
    )


def _last_of(
    forward: bool, reverse: bool = False, cleared: bool = True
) -> Callable[[Tape, Fields, Var, np.ndarray, bool], Fields]:
    """The last step of each layer's own output in place of its h_n, in some directions."""

    def ends(tape: Tape, fields: Fields, y: Var, active: np.ndarray, backwards: bool) -> Fields:
        if not (reverse if backwards else forward):
            return fields
        whole = tape.where(active, y, tape.constant(y.value * 0)) if cleared else y
        return [whole[-1], *fields[1:]]

    return ends


def _with_last_layer(
    tape: Tape, fields: Fields, y: Var, problem: Problem, reverse_too: bool
) -> Fields:
    """Final states with h_n of the last layer replaced by the last column of y [T, B, D·F]."""
    net, F = problem.net, problem.net.output_size
    h = [fields[0][k] for k in range(len(fields[0].value))]
    first = len(h) - net.directions
    h[first] = y[-1, :, :F]
    if reverse_too and net.directions == 2:
        h[first + 1] = y[-1, :, F:]
    return [tape.stack(h), *fields[1:]]


def _merged(name: str, *equations: Equations) -> Mistake:
    """One mistake by several programs, each with autograd or with the right gradients."""
    return Mistake(name, tuple(c for e in equations for c in _with_right_backward(name, e).changes))


def _with_right_backward(name: str, equations: Equations, cells: Sequence[str] = CELLS) -> Mistake:
    """A mistake in what is returned: by autograd, or with the right gradients beside it."""

    def final(tape: Tape, fields: Fields, y: Var, problem: Problem) -> Fields:
        return values_only(tape, equations.final(tape, fields, y, problem), fields)

    def ends(tape: Tape, fields: Fields, y: Var, active: np.ndarray, reverse: bool) -> Fields:
        return values_only(tape, equations.ends(tape, fields, y, active, reverse), fields)

    def values_only(tape: Tape, wrong: Fields, right: Fields) -> Fields:
        return [_value_of(tape, w, r) for w, r in zip(wrong, right, strict=True)]

    return Mistake(name, (Change(equations), Change(Equations(final=final, ends=ends))), cells)


def _value_of(tape: Tape, wrong: Var, right: Var) -> Var:
    """The value of one result with the gradient of another."""
    return tape.record(wrong.value, (right, lambda g: g), rounds=False)
