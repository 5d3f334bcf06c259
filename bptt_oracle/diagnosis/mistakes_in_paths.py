"""Cotangents that are ignored, and paths along which no gradient or a wrong one flows: values are
right."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from torch_impl.execution.problem import Problem

from .equations import CELLS, GRUS, LSTMS, Equations, Fields, Moment
from .mistake import Change, Mistake, only_gradients
from .tape import Tape, Var

GRU = ("GRU",)


def path_mistakes() -> Iterator[Mistake]:
    """All mistakes of this file."""
    yield from _cotangents()
    yield from _paths()
    yield from _weight_hh()


def without_gradient_of(position: int) -> Callable[[Problem], Problem]:
    """The problem without the cotangent of h_n (0) or c_n (1)."""
    return lambda p: p._replace(
        d_state=tuple(None if k == position else d for k, d in enumerate(p.d_state))
    )


def stop_between_steps(*stopped: int) -> Callable[[Tape, Fields, Moment], Fields]:
    """No gradient of h (0) or c (1) between the steps of each row, whose first step may be run
    later than that of others."""

    def before(tape: Tape, fields: Fields, moment: Moment) -> Fields:
        return [
            tape.with_gradient(f, lambda g: np.where(moment.first, g, g * 0)) if k in stopped else f
            for k, f in enumerate(fields)
        ]

    return before


def _cotangents() -> Iterator[Mistake]:
    yield only_gradients("the gradient of h_n ignored", Change(problem=without_gradient_of(0)))
    yield only_gradients(
        "the gradient of c_n ignored", Change(problem=without_gradient_of(1)), LSTMS
    )
    yield only_gradients(
        "the gradients of h_n and c_n ignored",
        Change(problem=lambda p: p._replace(d_state=(None,) * len(p.d_state))),
        LSTMS,
    )
    yield only_gradients(
        "the gradient of the output ignored", Change(problem=lambda p: p._replace(d_output=None))
    )
    yield only_gradients(
        "the gradient of the output ignored except in the last step", Change(problem=_last_step)
    )


def _last_step(problem: Problem) -> Problem:
    if problem.d_output is None:
        return problem
    d, axis = np.zeros_like(problem.d_output), 0
    if problem.net.batch_first and problem.x.ndim == 3:
        axis = 1
    last = (slice(None),) * axis + (-1,)
    d[last] = problem.d_output[last]
    return problem._replace(d_output=d)


def _stop(tape: Tape, a: Var) -> Var:
    return tape.constant(a.value)


def _paths() -> Iterator[Mistake]:
    """Paths along which no gradient flows."""

    def through(name: str, cells: Sequence[str] = CELLS, **hooks: object) -> Mistake:
        return only_gradients(name, Change(Equations(**hooks)), cells)  # type: ignore[arg-type]

    def stop_fields(*stopped: int) -> Callable[[Tape, Fields, Moment], Fields]:
        return lambda tape, fields, moment: [
            _stop(tape, f) if k in stopped and moment.k else f for k, f in enumerate(fields)
        ]

    def every(steps: int) -> Callable[[Tape, Fields, Moment], Fields]:
        return lambda tape, fields, moment: [
            _stop(tape, f) if moment.k and moment.k % steps == 0 else f for f in fields
        ]

    def cut(name: str, cells: Sequence[str], *stopped: int) -> Mistake:
        hooks = stop_fields(*stopped), stop_between_steps(*stopped)
        changes = tuple(Change(Equations(before=before)) for before in hooks)
        return Mistake(name, changes, cells, in_values=False)

    yield cut("the gradient through time cut at each step", CELLS, 0, 1)
    yield through("the gradient through time cut after two steps", before=every(2))
    yield Mistake(
        "the gradient through time cut in the middle",
        tuple(Change(Equations(before=_cut_at(half))) for half in (_half_down, _half_up)),
        in_values=False,
    )
    yield cut("no gradient through c from step to step", LSTMS, 1)
    yield cut("no gradient through h from step to step", LSTMS, 0)
    yield through(
        "no gradient from a layer to the one below", between=lambda t, y, problem: _stop(t, y)
    )
    for direction, kind in enumerate(("forward", "reverse")):
        yield through(
            f"the gradient of a layer's input lacks the {kind} direction", enter=_lacking(direction)
        )
    for part, cells in (
        *((f"the gate {gate}", LSTMS) for gate in "ifo"),
        *((f"the gate {gate}", GRUS) for gate in "rz"),
        ("the gate g", LSTMS),
        ("the candidate n", GRUS),
        ("tanh of c", LSTMS),
    ):
        change = Change(at_gate(part[-1], _stop))
        yield only_gradients(f"no gradient through {part}", change, cells)
    yield through(
        "no gradient through z ⊙ h₋",
        GRU,
        blend=lambda tape, z, n, h: (1 - z) * n + z * _stop(tape, h),
    )
    yield through(
        "no gradient through h₋ W_hhᵀ to h₋",
        recurrent=lambda tape, h, weight, moment: _stop(tape, h) @ weight.T,
    )
    first, last = "the first step run", "the last step run"
    yield through(f"gradients of parameters from {first} alone", of_step=_only(first=True))
    yield through(f"gradients of parameters from {last} alone", of_step=_only(first=False))


def _cut_at(step: Callable[[int], int]) -> Callable[[Tape, Fields, Moment], Fields]:
    """No gradient of the state that enters the step numbered step(T)."""
    return lambda tape, fields, moment: [
        _stop(tape, f) if 0 < moment.k == step(moment.T) else f for f in fields
    ]


def _half_down(steps: int) -> int:
    return steps // 2


def _half_up(steps: int) -> int:
    return (steps + 1) // 2


def _lacking(lost: int) -> Callable[[Tape, Var, Problem, int, int], Var]:
    def enter(tape: Tape, x: Var, problem: Problem, layer: int, direction: int) -> Var:
        return _stop(tape, x) if problem.net.bidirectional and direction == lost else x

    return enter


def at_gate(changed: str, change: Callable[[Tape, Var], Var]) -> Equations:
    """The equations with a change of the argument of one σ, or of the tanh of g, n or c."""

    def sigmoid(tape: Tape, a: Var, gate: str) -> Var:
        return tape.sigmoid(change(tape, a) if gate == changed else a)

    def tanh(tape: Tape, a: Var, gate: str) -> Var:
        return tape.tanh(change(tape, a) if gate == changed else a)

    return Equations(sigmoid=sigmoid, tanh=tanh)


def _only(first: bool) -> Callable[[Tape, Var, str, Moment], Var]:
    def of_step(tape: Tape, p: Var, name: str, moment: Moment) -> Var:
        kept = moment.k == 0 if first else moment.k == moment.T - 1
        return p if kept else _stopping(tape, p)

    return of_step


def _stopping(tape: Tape, p: Var) -> Var:
    return tape.with_gradient(p, lambda g: g * 0)


def _weight_hh() -> Iterator[Mistake]:
    def product(
        state: Callable[[Var, Moment], np.ndarray],
    ) -> Callable[[Tape, Var, Var, Moment], Var]:
        def recurrent(tape: Tape, h: Var, weight: Var, moment: Moment) -> Var:
            return tape.record(
                h.value @ weight.value.T,
                (h, lambda g: g @ weight.value),
                (weight, lambda g: g.T @ state(h, moment)),
            )

        return recurrent

    states: dict[str, Callable[[Var, Moment], np.ndarray]] = {
        "h_t in place of h_{t−1} in the gradient of weight_hh": lambda h, m: m.after[0],
        "h_0 left out of the gradient of weight_hh in the reverse direction": lambda h, m: (
            np.where(m.first, 0, h.value) if m.reverse else h.value
        ),
        "h_0 left out of the gradient of weight_hh in rows of the reverse direction that "
        "are shorter than the longest": lambda h, m: (
            np.where(m.first & (m.k > 0), 0, h.value) if m.reverse else h.value
        ),
    }
    for name, state in states.items():
        yield only_gradients(name, Change(Equations(recurrent=product(state))))
    yield Mistake(
        "h_0 left out of the gradient of weight_hh",
        (
            Change(Equations(recurrent=product(lambda h, m: np.where(m.first, 0, h.value)))),
            Change(Equations(of_step=_without_first)),
        ),
        in_values=False,
    )
    yield only_gradients(
        "weight_hh not transposed on the way back, δa W_hhᵀ in place of δa W_hh",
        Change(Equations(recurrent=_transposed_back)),
        ("RNN_TANH", "RNN_RELU"),
    )


def _without_first(tape: Tape, p: Var, name: str, moment: Moment) -> Var:
    return _stopping(tape, p) if name == "weight_hh" and moment.k == 0 else p


def _transposed_back(tape: Tape, h: Var, weight: Var, moment: Moment) -> Var:
    return tape.record(
        h.value @ weight.value.T,
        (h, lambda g: g @ weight.value.T),
        (weight, lambda g: g.T @ h.value),
    )
