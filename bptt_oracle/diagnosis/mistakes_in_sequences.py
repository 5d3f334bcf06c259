"""Mistakes in lengths, directions and outputs: around the steps, not in them."""

from collections.abc import Callable, Iterator

import numpy as np

from torch_impl.execution.problem import Problem

from ..judging.evaluation import Results
from .equations import Equations, clear_padding, inside
from .mistake import Change, Mistake
from .tape import Tape, Var


def sequence_mistakes() -> Iterator[Mistake]:
    """All mistakes of this file."""
    yield from _lengths()
    yield from _outputs()


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
        (
            *_with_any_padding(Equations(active=always)),
            *_with_any_padding(Equations(active=always, clear=keep)),
            *_with_any_padding(Equations(active=always, between=clear_padding)),
        ),
    )
    yield Mistake(
        "the reverse direction starts in the padding",
        (
            *_with_any_padding(Equations(active=in_padding)),
            *_with_any_padding(Equations(active=in_padding, between=clear_padding)),
        ),
    )
    yield Mistake(
        "the state set to zero in the padding",
        (Change(Equations(ended=lambda tape, old: tape.constant(old.value * 0))),),
    )
    yield Mistake(
        "the last step of shorter rows not run",
        (Change(Equations(active=one_short)), Change(problem=_shortened)),
    )
    yield Mistake(
        "the last state repeated in the padding of the output", (Change(Equations(clear=keep)),)
    )


def _with_any_padding(equations: Equations) -> Iterator[Change]:
    """Padding of x that is read as it comes; that is 0; and that is not part of the input, as in a
    PackedSequence, so that its gradient is 0 as well."""

    def without_gradient(results: Results, problem: Problem) -> Results:
        if problem.lengths is None or "d_x" not in results:
            return results
        mask = np.arange(len(problem.x))[:, None] < np.array(problem.lengths)
        return results | {"d_x": results["d_x"] * mask[..., None]}

    yield Change(equations)
    yield Change(equations, _without_padding)
    yield Change(equations, _without_padding, without_gradient)


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
