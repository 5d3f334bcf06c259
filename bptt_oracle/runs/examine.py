"""Run cases on paths and judge the results: the work of `bptt-oracle check`."""

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from torch_impl.execution.backend import WrongKernel
from torch_impl.execution.catalogue import exclusion_reason, path_named
from torch_impl.execution.path import Path, product_precision
from torch_impl.execution.precision import UNIT_ROUNDOFF
from torch_impl.execution.problem import Problem
from torch_impl.execution.run import dropout_masks, run

from ..cases.case import Case, draw
from ..implementations.responses import respond
from ..judging.confirmation import judge_and_confirm
from ..judging.deviations import mark_known
from ..judging.invalid_calls import has_invalid_calls
from ..judging.location import location
from ..judging.truth import Expected, expect
from ..processes.failures import Crash, first_line, lacks_resources
from ..processes.workers import map_unordered, run_isolated

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


class JudgedOutcome(NamedTuple):
    """A result, the tensors that were judged, and the dropout masks that torch drew for them."""

    result: Result
    tensors: dict[str, np.ndarray]
    masks: list[np.ndarray]


def examine(case: Case, dtype: str, paths: Sequence[Path]) -> list[Result]:
    """Judge a case on each path. Known deviations are marked as such."""
    return [mark_known(outcome.result, case) for outcome in judge_paths(case, dtype, paths)]


def judge_paths(case: Case, dtype: str, paths: Sequence[Path]) -> Iterator[JudgedOutcome]:
    """Run a case on each path and judge it; truth is computed once for each precision. An
    exception that torch raises is a fault, except WrongKernel, which is raised again, and except a
    lack of memory: the verdict is then OUT_OF_RESOURCES, also of the paths that it prevents."""
    remaining = list(paths)
    try:
        for outcome in _judge_paths(case, dtype, paths):
            remaining.pop(0)
            yield outcome
    except Exception as error:
        if isinstance(error, WrongKernel) or not lacks_resources(error):
            raise
        for path in remaining:
            unfinished = blank_result(case, path, dtype)._replace(
                verdict=OUT_OF_RESOURCES, R=float("inf"), note=first_line(error)
            )
            yield JudgedOutcome(unfinished, {}, [])


def blank_result(case: Case, path: Path, dtype: str, note: str = "") -> Result:
    """The result of a path that does not exist for a case, for the reason in `note`."""
    return Result(case.id, path.name, dtype, case.cell, "excluded", 0, "", "", "", 0, note, {})


def _judge_paths(case: Case, dtype: str, paths: Sequence[Path]) -> Iterator[JudgedOutcome]:
    problem = draw(case)
    masks = dropout_masks(problem, dtype)
    expectations: dict[str, Expected] = {}
    for path in paths:
        note = exclusion_reason(path, problem, dtype)
        blank = blank_result(case, path, dtype, note)
        if note:
            yield JudgedOutcome(blank, {}, masks)
            continue
        start = time.perf_counter()
        try:
            outcome = run(path, problem, dtype, masks)
        except WrongKernel:
            raise
        except Exception as error:  # the case is valid, so any other exception is a fault of torch
            word = OUT_OF_RESOURCES if lacks_resources(error) else "fault"
            raised = blank._replace(verdict=word, R=float("inf"), note=first_line(error))
            yield JudgedOutcome(raised, {}, masks)
            continue
        seconds = time.perf_counter() - start
        precision = product_precision(path, dtype)
        if precision not in expectations:
            expectations[precision] = expect_in_precision(problem, dtype, precision, masks)
        expected = expectations[precision]
        exact = case.regime == "exact" and expected.exact
        expect_with = partial(expect_in_precision, problem, dtype, precision, masks)
        verdict, _ = judge_and_confirm(outcome.results, expected, exact, expect_with)
        word, worst, scores = verdict
        judged = blank._replace(
            verdict=word,
            R=worst.R,
            tensor=worst.tensor,
            place=location(case, worst.tensor, worst.at),
            kernel=outcome.kernel,
            seconds=seconds,
            note=expected.untrusted,
            tensors={s.tensor: s.R for s in scores if not s.ill},
            offsets={s.tensor: s.offset for s in scores if not s.ill},
        )
        yield JudgedOutcome(judged, outcome.results, masks)


def expect_in_precision(
    problem: Problem, dtype: str, precision: str, masks: Sequence[np.ndarray], effort: int = 1
) -> Expected:
    """Truth and noise of a problem in `dtype` whose matrix products are computed in `precision`."""
    lower = precision if precision not in (dtype, "tf32") else ""
    return expect(problem, dtype, UNIT_ROUNDOFF[precision], masks, lower, effort)


def check(
    cases: Iterable[Case], dtypes: Sequence[str], paths: Sequence[str], workers: int = 1
) -> Iterator[list[Result]]:
    """Yield the results of each case as soon as it is finished. A case that ends its worker is
    repeated piece by piece, and what ends its process again has the verdict CRASH."""
    work = partial(examine_dtypes, dtypes=dtypes, paths=paths)
    return map_unordered(work, cases, workers, partial(_examine_pieces, dtypes=dtypes, paths=paths))


def _examine_pieces(
    case: Case, crash: Crash, dtypes: Sequence[str], paths: Sequence[str]
) -> list[Result]:
    """The results of a case that ends its process; each path and dtype in a process of its own."""
    results: list[Result] = []
    for dtype in dtypes:
        for name in paths:
            path = path_named(name)
            try:
                results += run_isolated(partial(examine, dtype=dtype, paths=[path]), case)
            except Crash as again:
                results.append(crashed(blank_result(case, path, dtype), again))
    try:
        results += run_isolated(partial(examine_dtypes, dtypes=[], paths=paths), case)
    except Crash as again:
        blank = blank_result(case, path_named("cpu-native"), "float32")
        results.append(crashed(blank._replace(path="cpu-invalid-calls"), again))
    return results


def crashed(blank: Result, crash: Crash) -> Result:
    """The result of a path whose process ended."""
    return blank._replace(verdict=CRASH, R=float("inf"), note=str(crash))


def examine_dtypes(case: Case, dtypes: Sequence[str], paths: Sequence[str]) -> list[Result]:
    """`examine` in every dtype; for some cases, if a module runs on the CPU, also the invalid
    calls."""
    chosen = [path_named(name) for name in paths]
    results = [result for dtype in dtypes for result in examine(case, dtype, chosen)]
    if has_invalid_calls(case) and any(
        path.device == "cpu" and path.implementation == "module" for path in chosen
    ):
        results.append(examine_invalid_calls(case))
    return results


def examine_invalid_calls(case: Case) -> Result:
    """Judge whether torch rejects the invalid calls made from a case. R is 0 for a call that is
    rejected and infinite for one that is accepted."""
    start = time.perf_counter()
    blank = blank_result(case, path_named("cpu-native"), "float32")
    try:
        responses = respond(draw(case))
    except Exception as error:
        if not lacks_resources(error):
            raise
        return blank._replace(
            path="cpu-invalid-calls",
            verdict=OUT_OF_RESOURCES,
            R=float("inf"),
            note=first_line(error),
        )
    ratios = {name: 0.0 if exception else np.inf for name, exception in responses}
    name, R = max(ratios.items(), key=lambda item: item[1])
    result = Result(
        case.id,
        "cpu-invalid-calls",
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


def no_case_message(paths: Sequence[str], dtypes: Sequence[str]) -> str:
    """The error message when every path is excluded for every case. It also suggests another
    dtype, because more cases do not help where a path does not have the dtype."""
    combination = f"{', '.join(paths)} in {', '.join(dtypes)}"
    return (
        f"no case of this corpus exists on {combination}; ask for more --cases, or another --dtype"
    )
