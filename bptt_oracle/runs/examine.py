"""Cases run over paths and judged: the work behind `bptt-oracle check`."""

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
from ..judging.deviations import mark_known
from ..judging.invalid_calls import has_invalid_calls
from ..judging.judge import judge
from ..judging.location import location
from ..judging.truth import Expected, expect
from .workers import spread


class Result(NamedTuple):
    """One case on one path in one dtype."""

    case: str
    path: str
    dtype: str
    cell: str
    verdict: str  # agree, fault, known deviation, untrusted; excluded where there is no such path
    R: float
    tensor: str
    place: str
    kernel: str
    seconds: float
    note: str  # why excluded; torch's message where it raised
    tensors: dict[str, float]  # R of every tensor that can tell


class Answer(NamedTuple):
    """A result, the tensors that were judged, and the dropout masks that torch drew for them."""

    result: Result
    tensors: dict[str, np.ndarray]
    masks: list[np.ndarray]


def examine(case: Case, dtype: str, paths: Sequence[Path]) -> list[Result]:
    """A case judged on each of the paths, truth computed once for all of one precision."""
    return [mark_known(answer.result, case) for answer in answers(case, dtype, paths)]


def answers(case: Case, dtype: str, paths: Sequence[Path]) -> Iterator[Answer]:
    """As `examine`, each result with all that went before it."""
    problem = draw(case)
    masks = dropout_masks(problem, dtype)
    expectations: dict[str, Expected] = {}
    name = case.id
    for path in paths:
        note = exclusion_reason(path, problem, dtype)
        blank = Result(name, path.name, dtype, case.cell, "excluded", 0, "", "", "", 0, note, {})
        if note:
            yield Answer(blank, {}, masks)
            continue
        start = time.perf_counter()
        try:
            outcome = run(path, problem, dtype, masks)
        except WrongKernel:
            raise
        except Exception as error:  # whatever torch raises on a valid case is its answer
            message = (str(error).splitlines() or [""])[0]
            note = f"{type(error).__name__}: {message}"
            yield Answer(blank._replace(verdict="fault", R=float("inf"), note=note), {}, masks)
            continue
        seconds = time.perf_counter() - start
        precision = product_precision(path, dtype)
        if precision not in expectations:
            expectations[precision] = measure(problem, dtype, precision, masks)
        measured = expectations[precision]
        exact = case.regime == "exact" and measured.exact
        word, worst, scores = judge(outcome.results, measured, exact)
        judged = blank._replace(
            verdict=word,
            R=worst.R,
            tensor=worst.tensor,
            place=location(case, worst.tensor, worst.at),
            kernel=outcome.kernel,
            seconds=seconds,
            note=measured.untrusted,
            tensors={s.tensor: s.R for s in scores if not s.ill},
        )
        yield Answer(judged, outcome.results, masks)


def measure(problem: Problem, dtype: str, precision: str, masks: Sequence[np.ndarray]) -> Expected:
    """The expected of a problem whose products are computed in that precision."""
    lower = precision if precision not in (dtype, "tf32") else ""
    return expect(problem, dtype, UNIT_ROUNDOFF[precision], masks, lower)


def check(
    cases: Iterable[Case], dtypes: Sequence[str], paths: Sequence[str], workers: int = 1
) -> Iterator[list[Result]]:
    """The results of one case after another, in the order they are done."""
    return spread(partial(examine_all, dtypes=dtypes, paths=paths), cases, workers)


def examine_all(case: Case, dtypes: Sequence[str], paths: Sequence[str]) -> list[Result]:
    """`examine` in every dtype; and, of some cases on the CPU, what is refused."""
    chosen = [path_named(name) for name in paths]
    results = [result for dtype in dtypes for result in examine(case, dtype, chosen)]
    if has_invalid_calls(case) and any(
        path.device == "cpu" and path.implementation == "module" for path in chosen
    ):
        results.append(refused(case))
    return results


def refused(case: Case) -> Result:
    """Whether torch refuses what the case becomes when one thing in it is spoiled."""
    start = time.perf_counter()
    told = {name: 0.0 if exception else np.inf for name, exception in respond(draw(case))}
    name, R = max(told.items(), key=lambda item: item[1])
    result = Result(
        case.id,
        "cpu-invalid-calls",
        "float32",
        case.cell,
        verdict="fault" if R else "agree",
        R=R,
        tensor=name,
        place="answered" if R else "refused",
        kernel="native",
        seconds=time.perf_counter() - start,
        note="",
        tensors=told,
    )
    judged: Result = mark_known(result, case)
    return judged
