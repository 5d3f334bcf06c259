"""Where an error starts: forward first, by layer and step, then backward, from the last layer."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from reference.cells.table import CELL_TABLE

from ..cases.case import Case
from ..judging.judge import LIMIT, Score, judge
from ..judging.location import location
from ..judging.truth import Expected
from ..judging.wide import absolute_difference

Wrong = tuple[Case, str, Mapping[str, np.ndarray], Expected]
_LAYER = re.compile(r"_l(\d+)(_reverse)?$")


def start_of(wrong: Sequence[Wrong]) -> str:
    """One sentence about the first of some wrong cases, one with wrong values if there is one."""
    scored = [(entry, _wrong_scores(entry[2], entry[3])) for entry in wrong]
    in_values = [(e, s) for e, s in scored if any(not name.startswith("d_") for name in s)]
    if in_values:
        (case, dtype, results, expected), scores = in_values[0]
        return f"{_first_value(case, results, expected, scores)}; {case.id}, {dtype}"
    if not scored or not scored[0][1]:
        return ""
    (case, dtype, results, expected), scores = scored[0]
    return f"{_first_gradient(case, results, expected, scores)}; {case.id}, {dtype}"


def _wrong_scores(results: Mapping[str, np.ndarray], expected: Expected) -> dict[str, Score]:
    verdict = judge(results, expected.of(n for n in expected.truth if n in results))
    return {s.tensor: s for s in verdict.scores if s.R > LIMIT and not s.ill}


def _wrong_elements(
    name: str, results: Mapping[str, np.ndarray], expected: Expected, worst: Score
) -> np.ndarray:
    """The indices of the wrong elements of a tensor, [n, axes]; the worst one at least."""
    value, truth = results[name], expected.truth[name]
    if type(value) is not np.ndarray or value.shape != truth.shape or not worst.at:
        return np.empty((0, truth.ndim), int)
    if name not in expected.elements:
        return np.array([worst.at])
    with np.errstate(over="ignore", invalid="ignore"):
        error = absolute_difference(value, truth)
        found = np.argwhere(~(error <= LIMIT * expected.elements[name].sizes))
    return found if len(found) else np.array([worst.at])


def _size(score: Score) -> str:
    # 1 / u of float64: where the truth is 0, R may be of any size
    return f"R = {score.R:.2g}" if score.R < 1e16 or np.isinf(score.R) else "R > 1e16"


def _first_value(
    case: Case,
    results: Mapping[str, np.ndarray],
    expected: Expected,
    scores: Mapping[str, Score],
) -> str:
    """The lowest layer of the final states, or the first step of the output."""
    D = 1 + case.bidirectional
    for name in ("h_n", "c_n"):
        if name in scores and case.layers > 1:
            found = _wrong_elements(name, results, expected, scores[name])
            if len(found) and found[:, 0].min() // D < case.layers - 1:
                index = tuple(int(n) for n in found[found[:, 0].argmin()])
                return f"starts in {name}, {location(case, name, index)} ({_size(scores[name])})"
    if "output" in scores:
        found = _wrong_elements("output", results, expected, scores["output"])
        if not len(found):
            return _unreadable("output", results, expected)
        time = found[:, 1 if case.layout == "batch" else 0]
        width = case.P or case.H
        reverse = bool((found[:, -1] >= width).all())
        index = tuple(int(n) for n in found[time.argmax() if reverse else time.argmin()])
        place = location(case, "output", index)
        return f"starts in the output, {place} ({_size(scores['output'])})"
    name = next(name for name in ("h_n", "c_n") if name in scores)
    found = _wrong_elements(name, results, expected, scores[name])
    if not len(found):
        return _unreadable(name, results, expected)
    index = tuple(int(n) for n in found[0])
    right = ", while the output is right" * ("output" in results)
    return f"starts in {name}, {location(case, name, index)} ({_size(scores[name])}){right}"


def _unreadable(name: str, results: Mapping[str, np.ndarray], expected: Expected) -> str:
    """A tensor that is not an array of the right shape, or that has NaN."""
    value = results[name]
    shape = getattr(value, "shape", None)
    if shape != expected.truth[name].shape:
        return f"{name} has the shape {shape} in place of {expected.truth[name].shape}"
    return f"{name} is not an array of floating-point numbers"


def _first_gradient(
    case: Case,
    results: Mapping[str, np.ndarray],
    expected: Expected,
    scores: Mapping[str, Score],
) -> str:
    """The last layer whose parameters have a wrong gradient, and its gates; else d_x, d_h_0."""

    def layer(name: str) -> int:
        match = _LAYER.search(name)
        return int(match[1]) if match else -1

    name = max(scores, key=layer)
    found = _wrong_elements(name, results, expected, scores[name])
    if not len(found):
        return _unreadable(name, results, expected)
    right = "values are right; the error " * any(not n.startswith("d_") for n in results)
    if layer(name) < 0:
        axis = 1 if case.layout == "batch" else 0
        last = found[found[:, axis].argmax()] if name == "d_x" else found[0]
        index = tuple(int(n) for n in last)
        return f"{right}starts in {name}, {location(case, name, index)} ({_size(scores[name])})"
    same = [n for n in scores if layer(n) == layer(name)]
    gates = CELL_TABLE[case.cell].gates
    rows = {int(row) // case.H for row in found[:, 0]}
    of_gates = len(gates) > 1 and "weight_hr" not in name and len(rows) < len(gates)
    which = f", gates {' '.join(gates[row] for row in sorted(rows))}" if of_gates else ""
    return f"{right}starts in {' '.join(same)}{which} ({_size(scores[name])})"
