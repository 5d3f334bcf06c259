"""Tests of an implementation with pytest: one test for each case, and one for the control.

Page: docs/implementations/your_implementation.md
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ..cases.case import Case, parse
from ..implementations.growing import growing_cases
from ..implementations.implementation import Implementation
from ..implementations.loading import as_implementation
from ..judging.deviation_entries import Deviation, expected_deviations_of
from ..judging.deviations import concerns
from ..judging.judge import LIMIT
from ..runs.control import control
from ..runs.examine import deviations_of, examine
from ..runs.results import Result

CONTROL = "control"
CASES = 64
JUDGED = ("agree", "fault", "known deviation")


class Tested:
    """What the tests of one decorator share: the implementation and its results so far."""

    def __init__(self, implementation: Implementation, dtypes: Sequence[str]) -> None:
        self.implementation = implementation
        self.dtypes = dtypes
        self.results: list[Result] = []

    def __repr__(self) -> str:
        return self.implementation.name


_counted: list[Result] = []  # since the plugin last took them


def parametrize_with_cases(
    implementation: Any,
    cell: str | None = None,
    *,
    cases: int = CASES,
    seed: int = 0,
    dtypes: Sequence[str] | None = None,
    expected_deviations: Mapping[str, str] | None = None,
) -> pytest.MarkDecorator:
    """Parametrise a test by `implementation` and `case`, from the plainest case on.

    implementation         an Implementation, or a class of torch modules
    cell                   only the cases of this cell
    dtypes                 default float32 and float64, or those that the implementation has
    expected_deviations    {"tensor, dtype, …": reason}: each word is the name of a tensor (with
                           * for any characters), a dtype, a cell, a layout, a regime, or
                           field=value of a case; a case of which all wrong tensors are expected is
                           an xfail, and a case in which none is wrong any more fails

    The last test is the control: mistakes planted in the implementation's own answers. Raises
    ValueError for a dtype that the implementation lacks.
    """
    described = as_implementation(implementation, getattr(implementation, "__name__", "the object"))
    if cell is not None:
        described = described._replace(cells=(cell,))
    if expected_deviations:
        listed = expected_deviations_of(expected_deviations)
        described = described._replace(deviations=listed)
    chosen = dtypes or described.usual_dtypes()
    lacking = [d for d in chosen if d not in described.dtypes]
    if lacking:
        has = ", ".join(described.dtypes)
        raise ValueError(f"{described.name} has no {lacking[0]}; it has {has}")
    tested = Tested(described, chosen)
    values = [(tested, case) for case in growing_cases(described, cases, seed)]
    ids = [case.id for _, case in values]
    return pytest.mark.parametrize(
        ("implementation", "case"), [*values, (tested, CONTROL)], ids=[*ids, CONTROL]
    )


def assert_agrees(
    implementation: Any, case: Case | str, dtypes: Sequence[str] | None = None
) -> None:
    """Assert that an implementation's answer to a case, or to the case with that id, agrees with
    the truth in every dtype. The message names the tensor, the place and the command that repeats
    the case. A case that is not judged, because it has an option that the implementation lacks,
    fails; one of `parametrize_with_cases` is skipped with the reason."""
    __tracebackhide__ = True
    tested = implementation if isinstance(implementation, Tested) else None
    described = tested.implementation if tested else as_implementation(implementation, "the object")
    chosen = dtypes or (tested.dtypes if tested else described.dtypes)
    if case == CONTROL:
        _assert_control(described, tested)
        return
    judged = parse(case) if isinstance(case, str) else case
    results = [r for dtype in chosen for r in examine(judged, dtype, [described])]
    _counted.extend(results)
    if tested:
        tested.results.extend(results)
    wrong = [_message(r) for r in results if r.verdict == "fault"]
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)
    not_judged = [r for r in results if r.verdict not in JUDGED]
    if not_judged and (dtypes or len(not_judged) == len(results)):
        why = "; ".join(dict.fromkeys(map(_why_not_judged, not_judged)))
        if tested:
            pytest.skip(f"not judged: {why}")
        pytest.fail(f"{described.name} was not judged: {why}", pytrace=False)
    met = [r for r in results if r.verdict == "known deviation"]
    known = deviations_of(described)
    if not met and any(_expects(known, r, judged) for r in results):
        pytest.fail("an expected deviation does not occur in this case; narrow it", pytrace=False)
    if met:
        reasons = {d.id: d.symptom for d in known}
        pytest.xfail("; ".join(reasons.get(name, name) for name in met[0].note.split(", ")))


def _message(result: Result) -> str:
    name = f"{result.case} --dtype {result.dtype}"
    if result.note:
        return f"{name}: {result.note}"
    return f"{name}: R {result.R:.3g}, above {LIMIT:g}, in {result.tensor}, {result.place}"


def _why_not_judged(result: Result) -> str:
    return result.note or f"zeros in place of {result.tensor} would agree as well"


def _expects(known: Sequence[Deviation], result: Result, case: Case) -> bool:
    """Whether a deviation is expected in a tensor that was judged."""
    facts = case._asdict() | {"path": result.path, "dtype": result.dtype}
    return any(concerns(d, facts | {"tensor": tensor}) for d in known for tensor in result.tensors)


def _assert_control(implementation: Implementation, tested: Tested | None) -> None:
    __tracebackhide__ = True
    results = tested.results if tested else []
    if not results:  # selected alone, or the cases ran in other processes
        cases = growing_cases(implementation, 24)
        dtypes = tested.dtypes if tested else implementation.dtypes
        results = [r for c in cases for r in examine(c, dtypes[0], [implementation])]
    done = control(implementation, results)
    if not done.planted:
        pytest.fail("no case agrees, so no mistake could be planted", pytrace=False)
    if done.missed:
        pytest.fail("planted mistakes were not detected: " + "; ".join(done.missed), pytrace=False)


def take_counts() -> tuple[int, int, int]:
    """Results, tensors judged and tensors not returned since the last call."""
    counts = (
        len(_counted),
        sum(len(r.tensors) for r in _counted),
        sum(len(r.not_returned) for r in _counted),
    )
    _counted.clear()
    return counts
