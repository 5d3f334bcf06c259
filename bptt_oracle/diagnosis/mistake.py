"""A mistake: its name, the cells that it occurs in, and what it changes.

A mistake may have several changes, because the same mistake gives different gradients in different
programs: an adapter that permutes parameters inside the differentiated function returns gradients
in torch's order, and one with an order of its own returns them in that order.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from torch_impl.execution.problem import Problem

from ..judging.evaluation import Results
from .equations import CELLS, RIGHT, Equations, Params
from .tape import Tape, Var


def _same_problem(problem: Problem) -> Problem:
    return problem


def same_results(results: Results, problem: Problem) -> Results:
    """The results themselves."""
    return results


class Change(NamedTuple):
    """What a mistake makes of a problem, of the equations, and then of the results."""

    equations: Equations = RIGHT
    problem: Callable[[Problem], Problem] = _same_problem
    results: Callable[[Results, Problem], Results] = same_results


class Mistake(NamedTuple):
    """A mistake, named such that "agrees with …" is a sentence."""

    name: str
    changes: tuple[Change, ...]
    cells: Sequence[str] = CELLS
    in_values: bool | None = True  # False: values are right; None: some cases show it in gradients


def in_parameters(
    name: str, change: Callable[[Tape, Params, Problem], Params], cells: Sequence[str] = CELLS
) -> Mistake:
    """A mistake in reading parameters; gradients are those of torch's parameters or as read."""
    changes = tuple(Change(Equations(read=change, d_of_read=own)) for own in (False, True))
    return Mistake(name, changes, cells)


def for_each(
    change: Callable[[str, Var, Problem], Var],
) -> Callable[[Tape, Params, Problem], Params]:
    """A function of all parameters from a function of the name and the value of one."""
    return lambda tape, params, problem: {n: change(n, p, problem) for n, p in params.items()}


def for_each_gradient(
    change: Callable[[str, np.ndarray, Problem], np.ndarray],
) -> Callable[[Results, Problem], Results]:
    """A function of all results that changes gradients only: change(name without d_, gradient)."""

    def changed(results: Results, problem: Problem) -> Results:
        return {
            name: change(name[2:], value, problem) if name.startswith("d_") else value
            for name, value in results.items()
        }

    return changed


def only_gradients(name: str, change: Change, cells: Sequence[str] = CELLS) -> Mistake:
    """A mistake that leaves the values right."""
    return Mistake(name, (change,), cells, in_values=False)
