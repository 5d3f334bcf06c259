"""What a fault is: a mistake put around a correct module, and where it is made.

A mistake is a function of a call and the correct way to answer it. It may change what goes in,
ask, and change what comes out; gradients follow by autograd, unless it bends them. A mistake that
remembers is given a dictionary of its own, which lasts as long as the module would.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from torch_impl.execution.calls import Call, Forward, Result
from torch_impl.execution.catalogue import path_named
from torch_impl.execution.problem import Problem
from torch_impl.execution.run import run

from ..cases.case import CELLS, Case

KINDS = {
    "W": "weights",
    "I": "input, state or lengths",
    "O": "outputs",
    "G": "gradient alone",
    "P": "a step, or what lies between layers",
    "R": "rounding of operands",
    "S": "state kept between calls",
    "N": "accepts what must be refused",
}
Mistake = Callable[..., Result]


class Fault(NamedTuple):
    """One mistake, made in the cases that `where` picks: in the others the module is right."""

    id: str
    kind: str
    source: str  # owner/repository#number of a public thread; empty where none is known
    symptom: str
    mistake: Mistake
    cells: tuple[str, ...]
    where: Callable[[Case], bool]
    dtypes: tuple[str, ...]
    path: str


FAULTS: dict[str, Fault] = {}


def fault(
    kind: str,
    symptom: str,
    source: str = "",
    cells: Sequence[str] = CELLS,
    where: Callable[[Case], bool] = lambda case: True,
    dtypes: Sequence[str] = ("float32", "float64"),
    path: str = "",
) -> Callable[[Mistake], Mistake]:
    """Enter a mistake into FAULTS under its function's name."""

    def enter(mistake: Mistake) -> Mistake:
        name = mistake.__name__
        if name in FAULTS:
            raise ValueError(f"there are two faults {name!r}")
        default_path = path or ("cpu-native-again" if kind == "S" else "cpu-native")
        FAULTS[name] = Fault(
            name, kind, source, symptom, mistake, tuple(cells), where, tuple(dtypes), default_path
        )
        return mistake

    return enter


def wrapped(planted: Fault, case: Case) -> Callable[[Forward], Forward]:
    """What puts the mistake around a way, with a memory of its own where it remembers; nothing
    in a case where it is not made."""
    memory: dict[str, Any] = {}

    def wrap(way: Forward) -> Forward:
        def mistaken(call: Call) -> Result:
            remembered = (memory,) if planted.kind == "S" else ()
            return planted.mistake(call, way, *remembered)

        return mistaken if planted.where(case) else way

    return wrap


def results(
    planted: Fault, case: Case, problem: Problem, dtype: str, masks: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """The results of `problem`, the problem of `case`, with the fault planted."""
    return run(path_named(planted.path), problem, dtype, masks, wrapped(planted, case)).results
