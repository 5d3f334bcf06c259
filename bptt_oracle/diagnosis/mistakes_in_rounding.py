"""Parameters, states, inputs or outputs in fewer digits than the rest."""

from collections.abc import Callable, Iterator

import numpy as np

from torch_impl.execution.precision import stored
from torch_impl.execution.problem import Problem

from ..judging.evaluation import Results
from ..judging.wide import narrow, widen
from .equations import Equations, Fields
from .mistake import Change, Mistake, for_each
from .tape import Tape, Var


def rounding_mistakes() -> Iterator[Mistake]:
    """All mistakes of this file; the gradient passes as if nothing were rounded."""
    for dtype in ("float32", "float16", "bfloat16"):

        def rounded(value: np.ndarray, dtype: str = dtype) -> np.ndarray:
            return stored(narrow(value), dtype)

        yield Mistake(f"parameters rounded to {dtype}", (_rounded_parameters(rounded),))
        yield Mistake(f"the initial state rounded to {dtype}", (_rounded_initial(rounded),))
        as_input = _rounded_input(rounded)
        d_x = _rounded_results("d_x", rounded)  # too, where autograd casts the gradient back
        changes = (as_input, as_input._replace(results=d_x))
        yield Mistake(f"the input rounded to {dtype}", changes)
        output = Change(results=_rounded_results("output", rounded))
        cotangent = output._replace(problem=_rounded_cotangent(rounded))
        yield Mistake(f"the output rounded to {dtype}", (output, cotangent))
    yield Mistake("parameters quantised to eight bits", (_rounded_parameters(_eight_bits),))


def _eight_bits(value: np.ndarray) -> np.ndarray:
    """255 levels, symmetric about 0, up to the largest element."""
    step = abs(value).max() / 127 or value.dtype.type(1)
    return np.asarray(np.rint(narrow(value / step)) * step)


def _rounded_parameters(rounded: Callable[[np.ndarray], np.ndarray]) -> Change:
    def change(name: str, p: Var, problem: Problem) -> Var:
        return _with_value(p, rounded(p.value))

    return Change(Equations(read=for_each(change)))


def _rounded_input(rounded: Callable[[np.ndarray], np.ndarray]) -> Change:
    def enter(tape: Tape, x: Var, problem: Problem, layer: int, direction: int) -> Var:
        return x if layer else _with_value(x, rounded(x.value))

    return Change(Equations(enter=enter))


def _rounded_initial(rounded: Callable[[np.ndarray], np.ndarray]) -> Change:
    def initial(tape: Tape, fields: Fields, problem: Problem) -> Fields:
        return [_with_value(field, rounded(field.value)) for field in fields]

    return Change(Equations(initial=initial))


def _rounded_results(
    tensor: str, rounded: Callable[[np.ndarray], np.ndarray]
) -> Callable[[Results, Problem], Results]:
    """One tensor of the results rounded, if it is there."""

    def change(results: Results, problem: Problem) -> Results:
        if tensor not in results:
            return results
        value = results[tensor]
        return results | {tensor: widen(rounded(value), value.dtype)}

    return change


def _rounded_cotangent(
    rounded: Callable[[np.ndarray], np.ndarray],
) -> Callable[[Problem], Problem]:
    def change(problem: Problem) -> Problem:
        d = problem.d_output
        return problem if d is None else problem._replace(d_output=rounded(d).astype(d.dtype))

    return change


def _with_value(var: Var, value: np.ndarray) -> Var:
    same = widen(value, var.value.dtype)
    return var.tape.record(same, (var, lambda g: g), rounds=False)
