"""A planted fault: a changed forward pass, and the cells, cases and dtypes that it applies to.

The change is a function `change(call, forward)` of a call and the correct forward function. It may
alter the call, run `forward`, and alter what that returns. Gradients follow by autograd unless the
change alters them too. A fault of kind S takes a third argument: a dictionary that persists over
the calls of one run, as the attributes of a module would.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from torch_impl.execution.calls import Call, Forward, Result
from torch_impl.execution.problem import Problem
from torch_impl.roads.catalogue import path_named, run_path

from ..cases.case import CELLS, Case

KINDS = {
    "W": "weights",
    "I": "input, state or lengths",
    "O": "outputs",
    "G": "gradient only",
    "P": "a step, or the connection between layers",
    "R": "rounding of operands",
    "S": "state kept between calls",
    "D": "a road: copied, lowered, quantised or differentiated along a direction",
    "N": "invalid call accepted",
}
Change = Callable[..., Result]


class Fault(NamedTuple):
    """One planted fault. Where it does not apply, the module stays correct."""

    id: str
    kind: str  # a key of KINDS
    source: str  # public threads, owner/repository#number, comma-separated; empty: not known
    symptom: str
    change: Change
    cells: tuple[str, ...]
    applies_to: Callable[[Case], bool]  # whether it changes a case of one of these cells
    dtypes: tuple[str, ...]
    path: str  # the path that it is planted in


FAULTS: dict[str, Fault] = {}


def fault(
    kind: str,
    symptom: str,
    source: str = "",
    cells: Sequence[str] = CELLS,
    applies_to: Callable[[Case], bool] = lambda case: True,
    dtypes: Sequence[str] = ("float32", "float64"),
    path: str = "",
) -> Callable[[Change], Change]:
    """Register the decorated change in FAULTS under its function's name.

    The arguments are the fields of `Fault`. The default path is cpu-native, or cpu-native-again
    for kind S, which shows only from the second call on.
    """

    def register(change: Change) -> Change:
        name = change.__name__
        if name in FAULTS:
            raise ValueError(f"Fault {name!r} is registered twice; rename one of the functions.")
        default_path = "cpu-native-again" if kind == "S" else "cpu-native"
        FAULTS[name] = Fault(
            name,
            kind,
            source,
            symptom,
            change,
            tuple(cells),
            applies_to,
            tuple(dtypes),
            path or default_path,
        )
        return change

    return register


def plant(planted: Fault, case: Case) -> Callable[[Forward], Forward]:
    """A function that puts the fault around a forward function.

    It returns the forward function unchanged if the fault does not apply to the case. A fault of
    kind S gets a memory of its own, shared by all forward functions of this call of `plant`.
    """
    memory: dict[str, Any] = {}

    def wrap(forward: Forward) -> Forward:
        def faulty_forward(call: Call) -> Result:
            remembered = (memory,) if planted.kind == "S" else ()
            return planted.change(call, forward, *remembered)

        return faulty_forward if planted.applies_to(case) else forward

    return wrap


def run_with_fault(
    planted: Fault, case: Case, problem: Problem, dtype: str, masks: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """The results of `problem`, the problem of `case`, with the fault planted."""
    return run_path(path_named(planted.path), problem, dtype, masks, plant(planted, case)).results
