"""Cases fitted to what an implementation can compute.

An option that it lacks is dropped from a case, and the case stays: dropout becomes 0, a projection
none, a packed batch dense. What is left must be a cell that it has.
"""

import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np

from torch_impl.execution.problem import Problem

from ..cases.case import Case, contradiction, draw
from ..cases.lengths import lengths_by_rule
from .implementation import Implementation

# The options of a case whose names are not words.
_WORDS = {"P": "projection", "rule": "lengths", "strided": "strides", "tied": "tied parameters"}


def fit(implementation: Implementation, case: Case) -> Case | None:
    """The case as the implementation can compute it; None if it cannot."""
    if case.cell not in implementation.cells:
        return None
    whole = implementation.run is not None or implementation.module is not None
    changes: dict[str, Any] = {}
    if not implementation.dropout or implementation.run is None:
        changes["dropout"] = 0.0
    if implementation.run is not None and not implementation.tied:
        changes["tied"] = False
    if not whole:  # x is always [T, B, I], and contiguous
        changes["strided"] = False
        if case.layout in ("batch", "unbatched"):
            changes["layout"] = "time"
        elif case.layout == "sorted":
            changes |= _in_any_order(case)
    if case.lengths and not implementation.lengths:
        changes |= {"layout": "time", "lengths": (), "rule": ""}
    if not implementation.projection:
        changes["P"] = 0
    if not implementation.bidirectional:
        changes["bidirectional"] = False
    if not implementation.layers:
        changes |= {"layers": 1, "dropout": 0.0}
    if not implementation.state:
        changes["state"] = False
    if not implementation.biases:
        changes |= {"bias": False, "tied": False}
    elif not implementation.no_biases:
        changes["bias"] = True
    if implementation.constrain is not None:  # it may change one of two tied parameters
        changes["tied"] = False
    fitted: Case | None = case._replace(**changes)
    if fitted is not None and implementation.not_returned:
        fitted = _with_cotangents_of_returned(implementation, fitted)
    if fitted is not None and implementation.fit is not None:
        fitted = implementation.fit(fitted)
    return None if fitted is None or contradiction(fitted) else fitted


def lacking_in(implementation: Implementation, case: Case) -> str:
    """What of a case the implementation cannot compute, in words; empty if it can compute it."""
    fitted = fit(implementation, case)
    if fitted == case:
        return ""
    if case.cell not in implementation.cells:
        return f"it computes {', '.join(implementation.cells)}, and the case is {case.cell}"
    if fitted is None:
        return "the case has options that it lacks"
    changed = [name for name in case._fields if getattr(case, name) != getattr(fitted, name)]
    words = [_WORDS.get(name, name) for name in changed]
    return f"the case has an option that it lacks: {', '.join(dict.fromkeys(words))}"


def _in_any_order(case: Case) -> dict[str, Any]:
    """The changes that make a sorted pack one of any order; a rule orders its rows anew."""
    if not case.rule:
        return {"layout": "packed"}
    return {
        "layout": "packed",
        "lengths": lengths_by_rule(case.rule, case.T, case.B, case.seed, descending=False),
    }


def _with_cotangents_of_returned(implementation: Implementation, case: Case) -> Case:
    """The case without cotangents of tensors that the implementation does not return."""
    lacking = implementation.not_returned
    kept = tuple(name for name in case.cotangents if not name.startswith(lacking))
    return case._replace(cotangents=kept or ("output",))


def fit_all(implementation: Implementation, cases: Iterable[Case]) -> list[Case]:
    """The cases, fitted, each once."""
    fitted = (fit(implementation, case) for case in cases)
    return list(dict.fromkeys(case for case in fitted if case is not None))


def problem_for(implementation: Implementation, case: Case) -> Problem:
    """The problem of a case; parameters that the implementation lacks are 0."""
    problem = draw(case)
    if implementation.constrain is None:
        return problem
    return implementation.constrain(problem)


def without_new_bias(problem: Problem) -> Problem:
    """A problem of a GRU whose b_hn, the bias inside the reset, is 0; other cells unchanged."""
    if problem.net.mode != "GRU":
        return problem
    H, params = problem.net.hidden_size, dict(problem.params)
    for name in params:
        if name.startswith("bias_hh"):
            params[name] = np.concatenate([params[name][: 2 * H], np.zeros(H)])
    return problem._replace(params=params)


def with_abilities_of_module(implementation: Implementation) -> Implementation:
    """The implementation by a module, without what the constructor of the module has no option
    for."""
    parameters = inspect.signature(implementation.module or object).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return implementation._replace(projection=True)
    return implementation._replace(
        layers=implementation.layers and "num_layers" in parameters,
        bidirectional=implementation.bidirectional and "bidirectional" in parameters,
        no_biases=implementation.no_biases and "bias" in parameters,
        projection="proj_size" in parameters,
    )
