"""Run cases on implementations and judge the results: the work of `bptt-oracle check`.

An implementation has a name: that of a path of torch, or "module:object". Worker processes get the
names. Imports no torch, so that other implementations are judged without it.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from torch_impl.execution.path import WrongKernel
from torch_impl.execution.precision import UNIT_ROUNDOFF
from torch_impl.execution.problem import Problem

from ..cases.case import Case, draw
from ..cases.masks import draw_masks
from ..implementations.compute import compute, review
from ..implementations.fitting import fit
from ..implementations.implementation import Answer, Implementation
from ..implementations.loading import describe, implementation_named, is_torch_path
from ..judging.confirmation import judge_and_confirm
from ..judging.deviations import Deviation, deviations_in, mark_known
from ..judging.invalid_calls import has_invalid_calls
from ..judging.judge import Score
from ..judging.location import location
from ..judging.truth import Expected, expect
from ..processes.failures import Crash, first_line, lacks_resources
from ..processes.stages import current_stages, work_in_stages
from ..processes.workers import map_unordered, run_isolated

INVALID_CALLS_PATH = "cpu-invalid-calls"
CRASH = "crash"
OUT_OF_RESOURCES = "out of resources"
UNFINISHED = (CRASH, OUT_OF_RESOURCES)  # verdicts without a result: no agreement, and no fault


class Result(NamedTuple):
    """The judgement of one case on one path in one dtype."""

    case: str
    path: str
    dtype: str
    cell: str
    verdict: str  # agree, fault, known deviation, untrusted, or one of UNFINISHED; excluded: the
    # path does not exist for the case
    R: float
    tensor: str  # the one with the largest R
    place: str  # of its worst element
    kernel: str
    seconds: float
    note: str  # why the path is excluded or nothing can be judged; torch's message if it raised
    tensors: dict[str, float]  # R of every tensor that is not ill-conditioned
    offsets: dict[str, float] = {}  # the offset of each of them
    not_returned: tuple[str, ...] = ()  # tensors that the implementation does not return


class JudgedOutcome(NamedTuple):
    """A result, and what it was judged from.

    masks      dropout masks that torch drew
    answer     reviewed; None if an exception was raised or nothing ran
    expected   the truth and noise that it was judged by; None if nothing ran
    """

    result: Result
    masks: list[np.ndarray] = []
    answer: Answer | None = None
    expected: Expected | None = None

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """Those that were judged."""
        return {} if self.answer is None else self.answer.results


def examine(case: Case, dtype: str, implementations: Sequence[Implementation]) -> list[Result]:
    """Judge a case on each implementation. Known deviations are marked as such."""
    return [
        mark_known(outcome.result, case, deviations_of(implementation))
        for implementation, outcome in zip(
            implementations, judge_implementations(case, dtype, implementations), strict=True
        )
    ]


def judge_implementations(
    case: Case, dtype: str, implementations: Sequence[Implementation]
) -> Iterator[JudgedOutcome]:
    """Run a case on each implementation and judge it; truth is computed once for each precision. An
    exception that an implementation raises is a fault, except WrongKernel, which is raised again,
    and except a lack of memory: the verdict is then OUT_OF_RESOURCES, also of the implementations
    that it prevents."""
    remaining = list(implementations)
    try:
        for outcome in _judge(case, dtype, implementations):
            remaining.pop(0)
            yield outcome
    except Exception as error:
        if isinstance(error, WrongKernel) or not lacks_resources(error):
            raise
        for implementation in remaining:
            unfinished = blank_result(case, implementation.name, dtype)._replace(
                verdict=OUT_OF_RESOURCES, R=float("inf"), note=first_line(error)
            )
            yield JudgedOutcome(unfinished)


def blank_result(case: Case, name: str, dtype: str, note: str = "") -> Result:
    """The result of an implementation that cannot compute a case, for the reason in `note`."""
    return Result(case.id, name, dtype, case.cell, "excluded", 0, "", "", "", 0, note, {})


def _judge(
    case: Case, dtype: str, implementations: Sequence[Implementation]
) -> Iterator[JudgedOutcome]:
    drawn = draw(case)
    masks = draw_masks(drawn, dtype)
    expectations: dict[Any, Expected] = {}  # by precision and constraint
    for implementation in implementations:
        problem = drawn
        if implementation.constrain is not None:
            problem = implementation.constrain(drawn)
        note = exclusion_reason_of(implementation, case, problem, dtype)
        blank = blank_result(case, implementation.name, dtype, note)
        if note:
            yield JudgedOutcome(blank, masks)
            continue
        precision = implementation.product_precision(dtype)
        key = precision, implementation.constrain
        if key not in expectations:
            expectations[key] = expect_in_precision(problem, dtype, precision, masks)
        expected = expectations[key]
        if stages := current_stages():
            stages.show(f"{dtype} {implementation.name}", at_once=True)
        start = time.perf_counter()
        try:
            answer = compute(implementation, problem, dtype)
        except WrongKernel:
            raise
        except Exception as error:  # the case is valid, so any other exception is a fault
            word = OUT_OF_RESOURCES if lacks_resources(error) else "fault"
            raised = blank._replace(verdict=word, R=float("inf"), note=describe(error))
            yield JudgedOutcome(raised, masks, None, expected)
            continue
        seconds = time.perf_counter() - start
        answer = review(implementation, answer, expected.truth, dtype)
        expect_with = partial(expect_in_precision, problem, dtype, precision, masks)
        judged, used = _judged(blank, case, answer, expected, expect_with)
        judged = judged._replace(seconds=seconds)
        yield JudgedOutcome(judged, masks, answer, used)


def _judged(
    blank: Result,
    case: Case,
    answer: Answer,
    expected: Expected,
    expect_with: Callable[[int], Expected],
) -> tuple[Result, Expected]:
    """The result of a reviewed answer, and the truth and noise by which its tensors were judged. A
    tensor with an error is a fault, whatever the numbers."""
    exact = case.regime == "exact" and expected.exact
    wrong = {name: float("inf") for name in answer.errors}
    common = blank._replace(kernel=answer.kernel, not_returned=answer.not_returned)
    if not answer.results:
        name = min(wrong, default="output")
        note = "; ".join(answer.errors.values()) or "no tensor was returned"
        failed = common._replace(
            verdict="fault", R=float("inf"), tensor=name, note=note, tensors=wrong
        )
        return failed, expected
    verdict, used = judge_and_confirm(
        answer.results,
        expected.of(answer.results),
        exact,
        lambda effort: expect_with(effort).of(answer.results),
    )
    word, worst, scores = verdict
    result = common._replace(
        verdict=word,
        R=worst.R,
        tensor=worst.tensor,
        place=_place(case, worst, used),
        note=expected.untrusted,
        tensors={s.tensor: s.R for s in scores if not s.ill} | wrong,
        offsets={s.tensor: s.offset for s in scores if not s.ill},
    )
    if wrong:
        note = "; ".join(answer.errors.values())
        result = result._replace(
            verdict="fault", R=float("inf"), tensor=min(wrong), place="", note=note
        )
    return result, used


def _place(case: Case, worst: Score, expected: Expected) -> str:
    """Where the worst element lies, and whether its truth is 0: its R may then be of any size."""
    zero = bool(worst.at) and expected.truth[worst.tensor][worst.at] == 0
    return location(case, worst.tensor, worst.at) + ", where the truth is 0" * bool(zero)


def exclusion_reason_of(
    implementation: Implementation, case: Case, problem: Problem, dtype: str
) -> str:
    """Why an implementation cannot compute a problem of a case in a dtype; empty if it can."""
    if implementation.exclusion_reason is None and fit(implementation, case) != case:
        return "the case has an option that it lacks"
    if dtype not in implementation.dtypes:
        return f"it has no {dtype}"
    if implementation.exclusion_reason is None:
        return ""
    return implementation.exclusion_reason(problem, dtype)


def deviations_of(implementation: Implementation) -> tuple[Deviation, ...]:
    """The deviations expected of an implementation in its installed version."""
    listed = implementation.deviations
    if isinstance(listed, Path):
        return deviations_in(listed, implementation.version())
    return tuple(listed)


def expect_in_precision(
    problem: Problem, dtype: str, precision: str, masks: Sequence[np.ndarray], effort: int = 1
) -> Expected:
    """Truth and noise of a problem in `dtype` whose matrix products are computed in `precision`."""
    lower = precision if precision not in (dtype, "tf32") else ""
    return expect(problem, dtype, UNIT_ROUNDOFF[precision], masks, lower, effort)


def check(
    cases: Iterable[Case],
    dtypes: Sequence[str],
    paths: Sequence[str],
    workers: int = 1,
    stages: Path | None = None,
) -> Generator[list[Result], None, None]:
    """Yield the results of each case as soon as it is finished. A case that ends its worker is
    repeated piece by piece, and what ends its process again has the verdict CRASH. One worker is
    this process, if all paths are torch's; a GPU is then used by one process only. What each worker
    is doing is written to the folder `stages`, if any."""
    examine_one = partial(examine_dtypes, dtypes=dtypes, paths=paths)
    work: Callable[[Case], list[Result]] = partial(work_in_stages, stages, examine_one)
    in_pieces = partial(_examine_pieces, dtypes=dtypes, paths=paths)
    isolate = not all(map(is_torch_path, paths))
    yield from map_unordered(work, cases, workers, in_pieces, isolate)


def _examine_pieces(
    case: Case, crash: Crash, dtypes: Sequence[str], paths: Sequence[str]
) -> list[Result]:
    """The results of a case that ends its process; each path and dtype in a process of its own."""
    results: list[Result] = []
    for dtype in dtypes:
        for name in paths:
            try:
                results += run_isolated(partial(examine_named, dtype=dtype, names=[name]), case)
            except Crash as again:
                results.append(crashed(blank_result(case, name, dtype), again))
    try:
        results += run_isolated(partial(examine_dtypes, dtypes=[], paths=paths), case)
    except Crash as again:
        results.append(crashed(blank_result(case, INVALID_CALLS_PATH, "float32"), again))
    return results


def examine_named(case: Case, dtype: str, names: Sequence[str]) -> list[Result]:
    """`examine` for implementations given by name."""
    return examine(case, dtype, [implementation_named(name) for name in names])


def crashed(blank: Result, crash: Crash) -> Result:
    """The result of a path whose process ended."""
    return blank._replace(verdict=CRASH, R=float("inf"), note=str(crash))


def examine_dtypes(case: Case, dtypes: Sequence[str], paths: Sequence[str]) -> list[Result]:
    """`examine` in every dtype; for some cases, if a module runs on the CPU, also the invalid
    calls."""
    chosen = [implementation_named(name) for name in paths]
    results = [result for dtype in dtypes for result in examine(case, dtype, chosen)]
    if has_invalid_calls(case) and any(map(_is_cpu_module, paths)):
        results.append(examine_invalid_calls(case))
    return results


def _is_cpu_module(name: str) -> bool:
    """Whether a name is that of a path on which a module of torch runs on the CPU."""
    if not is_torch_path(name):
        return False
    from torch_impl.roads.catalogue import ROADS, path_named

    path = path_named(name)
    return path.device == "cpu" and path.implementation == "module" and name not in ROADS


def examine_invalid_calls(case: Case) -> Result:
    """Judge whether torch rejects the invalid calls made from a case. R is 0 for a call that is
    rejected and infinite for one that is accepted."""
    from ..implementations.responses import respond

    start = time.perf_counter()
    blank = blank_result(case, INVALID_CALLS_PATH, "float32")
    try:
        responses = respond(draw(case))
    except Exception as error:
        if not lacks_resources(error):
            raise
        return blank._replace(
            verdict=OUT_OF_RESOURCES,
            R=float("inf"),
            note=first_line(error),
        )
    ratios = {name: 0.0 if exception else np.inf for name, exception in responses}
    name, R = max(ratios.items(), key=lambda item: item[1])
    result = Result(
        case.id,
        INVALID_CALLS_PATH,
        "float32",
        case.cell,
        verdict="fault" if R else "agree",
        R=R,
        tensor=name,
        place="accepted" if R else "rejected",
        kernel="native",
        seconds=time.perf_counter() - start,
        note="",
        tensors=ratios,
    )
    judged: Result = mark_known(result, case)
    return judged


def no_case_message(paths: Sequence[str], dtypes: Sequence[str], own: Sequence[Case] = ()) -> str:
    """The error message when every path is excluded for every case. It also suggests another
    dtype, because more cases do not help where a path does not have the dtype."""
    combination = f"{', '.join(paths)} in {', '.join(dtypes)}"
    if own:
        return (
            f"{own[0].id} does not exist on {combination}{', nor do the others' * (len(own) > 1)}; "
            "choose another --path or --dtype, or another case"
        )
    return (
        f"no case of this corpus exists on {combination}; ask for more --cases, or another --dtype"
    )
