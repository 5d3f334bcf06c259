"""Mistakes in states, lengths, directions and layers: around the steps, not in them."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from torch_impl.execution.problem import Problem

from ..judging.evaluation import Results
from .mistake import Change, Mistake
from .net import CELLS, Equations, Fields, clear_padding, inside
from .tape import Tape, Var

LSTM = ("LSTM",)


def sequence_mistakes() -> Iterator[Mistake]:
    """All mistakes of this file."""
    yield from _initial_states()
    yield from _final_states()
    yield from _lengths()
    yield from _outputs()


def _orders() -> dict[str, Callable[[int, int], np.ndarray]]:
    """Wrong orders of the L·D states, as functions of L and D."""
    return {
        "of the two directions swapped": lambda L, D: np.arange(L * D).reshape(L, D)[:, ::-1],
        "of the layers in reverse order": lambda L, D: np.arange(L * D).reshape(L, D)[::-1],
        "ordered direction by direction": lambda L, D: np.arange(L * D).reshape(D, L).T,
        "read direction by direction": lambda L, D: np.arange(L * D).reshape(L, D).T,
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
    yield mistake("h_0 ignored, c_0 used", ignored(0), LSTM)
    yield mistake("c_0 ignored, h_0 used", ignored(1), LSTM)
    for order, indices in _orders().items():
        yield mistake(f"initial states {order}", _take(indices))
    yield Mistake(
        "the first layer's initial state in every layer",
        tuple(Change(Equations(initial=take)) for take in (_take_first, _take_very_first)),
    )
    yield mistake("the forward direction's initial state in both directions", _take_forward)
    yield mistake("h_0 and c_0 swapped", lambda tape, given, problem: _swap(given, problem), LSTM)
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
    yield mistake("h_n and c_n swapped", lambda tape, f, problem: _swap(f, problem), LSTM)
    yield mistake("h_n in place of c_n", _one_for_both(0), LSTM)
    yield mistake("c_n in place of h_n", _one_for_both(1), LSTM)
    yield mistake(
        "final states left in the order of the sorted rows",
        lambda tape, fields, problem: [f[:, _sorted(problem)] for f in fields],
    )

    def last_column(tape: Tape, fields: Fields, y: Var, problem: Problem) -> Fields:
        cleared = clear_padding(tape, y, problem)
        return _with_last_layer(tape, fields, cleared, problem, reverse_too=False)

    yield _with_right_backward(
        "the last column of the output in place of h_n", Equations(final=last_column)
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

    name = "the last step of the output in place of h_n of the reverse direction"
    changes = [
        change
        for final in (last_output, last_of_cleared, last_of_row)
        for change in _with_right_backward(name, Equations(final=final)).changes
    ]
    yield Mistake(name, tuple(changes))


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


def _with_right_backward(name: str, equations: Equations, cells: Sequence[str] = CELLS) -> Mistake:
    """A mistake in what is returned: by autograd, or with the right gradients beside it."""

    def values_only(tape: Tape, fields: Fields, y: Var, problem: Problem) -> Fields:
        wrong = equations.final(tape, fields, y, problem)
        return [_value_of(tape, w, f) for w, f in zip(wrong, fields, strict=True)]

    return Mistake(name, (Change(equations), Change(Equations(final=values_only))), cells)


def _value_of(tape: Tape, wrong: Var, right: Var) -> Var:
    """The value of one result with the gradient of another."""
    return tape.record(wrong.value, (right, lambda g: g), rounds=False)


def _lengths() -> Iterator[Mistake]:
    def always(lengths: np.ndarray, T: int, reverse: bool) -> np.ndarray:
        return np.ones((T, len(lengths)), bool)

    def one_short(lengths: np.ndarray, T: int, reverse: bool) -> np.ndarray:
        shorter = np.where(lengths < T, np.maximum(lengths - 1, 1), lengths)
        return np.asarray(np.arange(T)[:, None] < shorter)

    def in_padding(lengths: np.ndarray, T: int, reverse: bool) -> np.ndarray:
        return np.asarray((np.arange(T)[:, None] < lengths) | reverse)

    def keep(tape: Tape, y: Var, problem: Problem) -> Var:
        mask = inside(problem, *y.value.shape[:2])
        return tape.with_gradient(y, lambda g: np.where(mask, g, g * 0))

    yield Mistake(
        "lengths ignored, padding run like data",
        tuple(
            Change(equations, problem)
            for equations in (Equations(active=always), Equations(active=always, clear=keep))
            for problem in (lambda p: p, _without_padding)
        ),
    )
    yield Mistake(
        "the reverse direction starts in the padding",
        tuple(Change(Equations(active=in_padding), p) for p in (lambda p: p, _without_padding)),
    )
    yield Mistake(
        "the last step of shorter rows not run",
        (Change(Equations(active=one_short)), Change(problem=_shortened)),
    )
    yield Mistake(
        "the last state repeated in the padding of the output", (Change(Equations(clear=keep)),)
    )


def _shortened(problem: Problem) -> Problem:
    """The problem with the length of every shorter row less by one."""
    lengths = problem.lengths
    if lengths is None:
        return problem
    longest = max(lengths)
    shorter = tuple(n - 1 if 1 < n < longest else n for n in lengths)
    return problem._replace(lengths=shorter)


def _without_padding(problem: Problem) -> Problem:
    """The problem with zeros in the padding of x."""
    if problem.lengths is None:
        return problem
    mask = np.arange(len(problem.x))[:, None] < np.array(problem.lengths)
    return problem._replace(x=problem.x * mask[..., None])


def _outputs() -> Iterator[Mistake]:
    def turned(tape: Tape, y: Var, problem: Problem) -> Var:
        return y[::-1]

    def turned_within(tape: Tape, y: Var, problem: Problem) -> Var:
        t = np.arange(len(y.value))[:, None]
        lengths = np.array(problem.lengths or [len(y.value)] * y.value.shape[1])
        source = np.where(t < lengths, lengths - 1 - t, t)
        return y[source, np.arange(len(lengths))]

    yield Mistake(
        "the output of the reverse direction not reversed back",
        (
            Change(Equations(turn=turned_within)),
            Change(Equations(turn=turned)),
            Change(results=_turn_results(turned=False)),
            Change(results=_turn_results(turned=True)),
            Change(Equations(clear=_clear_after(turned_within))),
            Change(Equations(clear=_clear_after(turned))),
        ),
    )
    yield Mistake("the two directions of the output swapped", _columns(_swapped))
    yield Mistake("the two directions of the output interleaved", _columns(_interleaved))
    yield Mistake(
        "layers above the first read only the forward direction",
        (Change(Equations(between=_forward_half)),),
    )

    def late(tape: Tape, x: Var, problem: Problem, layer: int, direction: int) -> Var:
        return tape.join([x[:1] * 0, x[:-1]], 0) if layer == 0 else x

    def around(tape: Tape, x: Var, problem: Problem, layer: int, direction: int) -> Var:
        return x[np.arange(-1, len(x.value) - 1)] if layer == 0 else x

    yield Mistake(
        "the input of the step before in each step",
        (Change(Equations(enter=late)), Change(Equations(enter=around))),
    )
    yield Mistake(
        "time run backwards",
        (
            Change(problem=_backwards, results=_forwards("output", "d_x")),
            Change(problem=_backwards_too, results=_forwards("d_x")),
        ),
    )


def _time_axis(problem: Problem) -> int:
    return 1 if problem.net.batch_first and problem.x.ndim == 3 else 0


def _backwards(problem: Problem) -> Problem:
    """The problem with x and the cotangent of the output reversed in time, if rows are full."""
    if problem.lengths is not None or problem.net.bidirectional:
        return problem
    axis, d = _time_axis(problem), problem.d_output
    return problem._replace(
        x=np.flip(problem.x, axis), d_output=None if d is None else np.flip(d, axis)
    )


def _backwards_too(problem: Problem) -> Problem:
    """The same, for outputs that stay in the order in which they are computed."""
    return _backwards(problem)._replace(d_output=problem.d_output)


def _forwards(*names: str) -> Callable[[Results, Problem], Results]:
    def change(results: Results, problem: Problem) -> Results:
        if problem.lengths is not None or problem.net.bidirectional:
            return results
        axis = _time_axis(problem)
        return results | {name: np.flip(results[name], axis) for name in names if name in results}

    return change


def _clear_after(
    turn: Callable[[Tape, Var, Problem], Var],
) -> Callable[[Tape, Var, Problem], Var]:
    """The last layer's output turned in its second half, before its padding is cleared."""

    def clear(tape: Tape, y: Var, problem: Problem) -> Var:
        if not problem.net.bidirectional:
            return clear_padding(tape, y, problem)
        F = problem.net.output_size
        joined = tape.join([y[..., :F], turn(tape, y[..., F:], problem)], 2)
        return clear_padding(tape, joined, problem)

    return clear


def _turn_results(turned: bool) -> Callable[[Results, Problem], Results]:
    """The second half of the output's columns reversed in time, gradients right."""

    def change(results: Results, problem: Problem) -> Results:
        if not problem.net.bidirectional:
            return results
        output, axis = results["output"].copy(), _time_axis(problem)
        F = problem.net.output_size
        if turned or problem.lengths is None:
            output[..., F:] = np.flip(output[..., F:], axis)
        else:
            for row, n in enumerate(problem.lengths):
                output[:n, row, F:] = output[:n, row, F:][::-1]
        return results | {"output": output}

    return change


def _swapped(F: int) -> np.ndarray:
    return np.concatenate([np.arange(F, 2 * F), np.arange(F)])


def _interleaved(F: int) -> np.ndarray:
    return np.arange(2 * F).reshape(2, F).T.ravel()


def _columns(order: Callable[[int], np.ndarray]) -> tuple[Change, ...]:
    """Columns of the output in another order: of the last layer, or of every layer."""

    def rearrange(tape: Tape, y: Var, problem: Problem) -> Var:
        return y[..., order(problem.net.output_size)] if problem.net.bidirectional else y

    def clear(tape: Tape, y: Var, problem: Problem) -> Var:
        return clear_padding(tape, rearrange(tape, y, problem), problem)

    def right_backward(results: Results, problem: Problem) -> Results:
        if not problem.net.bidirectional:
            return results
        return results | {"output": results["output"][..., order(problem.net.output_size)]}

    return (
        Change(Equations(clear=clear)),
        Change(Equations(clear=clear, between=rearrange)),
        Change(results=right_backward),
    )


def _forward_half(tape: Tape, y: Var, problem: Problem) -> Var:
    if not problem.net.bidirectional:
        return y
    F = problem.net.output_size
    return tape.join([y[..., :F], y[..., F:] * 0], 2)
