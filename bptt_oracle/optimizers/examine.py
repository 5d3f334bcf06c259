"""Run every form of torch's optimiser on a case, and judge parameters, states and memory.

A path is an optimiser in a form, such as `cpu-adam-fused`. Its results are rows of the same kind as
those of nets; the tensors are the parameters (`weight`), their states (`weight.exp_avg`), and two
verdicts on memory, whose R is 0, or infinite if it was changed: the elements of the buffer that are
not the parameter's, and the gradients. A read beyond the end of a gradient finds NaN.
"""

import math
import time
from collections.abc import Generator, Iterable, Sequence
from functools import partial
from pathlib import Path

from torch_impl.execution.path import WrongKernel
from torch_impl.optimizers.run import COMPILED_FORMS, exclusion_reason, forms_of, run
from torch_impl.optimizers.table import OPTIMIZERS

from ..judging.confirmation import judge_and_confirm
from ..judging.deviation_entries import Deviation, load
from ..judging.deviations import in_range, mark_known
from ..processes.failures import Crash, first_line, lacks_resources
from ..processes.workers import map_unordered, run_isolated
from ..runs.results import OUT_OF_RESOURCES, Result, crashed
from .cases import OptimizerCase, draw
from .expectation import expect

FILE = Path(__file__).with_name("deviations.toml")


def path_of(optimizer: str, form: str) -> str:
    """The name of a path."""
    return f"cpu-{optimizer.lower()}-{form}"


def optimizer_paths(compiled: bool = False) -> dict[str, tuple[str, str]]:
    """By name, the optimiser and the form of every path; of those that compile only if asked."""
    return {
        path_of(optimizer, form): (optimizer, form)
        for optimizer in OPTIMIZERS
        for form in forms_of(optimizer)
        if compiled or form not in COMPILED_FORMS
    }


def known_deviations() -> tuple[Deviation, ...]:
    """The deviations of optimisers that are expected of the installed torch."""
    return tuple(d for d in load(FILE, OptimizerCase) if in_range(d))


def examine_optimizers(case: OptimizerCase, dtype: str, paths: Sequence[str]) -> list[Result]:
    """Judge a case on each path of its optimiser; truth is computed once.

    An exception is a fault, except WrongKernel, which is raised again, and a lack of memory. Known
    deviations are marked as such.
    """
    chosen = optimizer_paths(compiled=True)
    forms = [chosen[name][1] for name in paths if chosen[name][0] == case.optimizer]
    if not forms:
        return []
    problem = draw(case, dtype)
    expected = expect(problem, dtype)
    results = []
    for form in forms:
        note = exclusion_reason(form)
        blank = _blank_result(case, path_of(case.optimizer, form), dtype, note)
        if note:
            results.append(blank)
            continue
        start = time.perf_counter()
        try:
            answer = run(problem, dtype, form)
        except WrongKernel:
            raise
        except Exception as error:  # the case is valid, so any other exception is a fault
            word = OUT_OF_RESOURCES if lacks_resources(error) else "fault"
            raised = blank._replace(verdict=word, R=float("inf"), note=first_line(error))
            results.append(mark_known(raised, case, known_deviations()))
            continue
        seconds = time.perf_counter() - start
        verdict, _ = judge_and_confirm(
            answer.results, expected, False, lambda effort: expect(problem, dtype, effort)
        )
        tensors = {s.tensor: s.R for s in verdict.scores if not s.ill}
        tensors |= {n: float("inf") if bad else 0.0 for n, bad in answer.damaged.items()}
        judged = blank._replace(
            verdict=verdict.word,
            R=verdict.worst.R,
            tensor=verdict.worst.tensor,
            place=f"element {verdict.worst.at}",
            kernel=answer.kernel,
            seconds=seconds,
            tensors=tensors,
            offsets={s.tensor: s.offset for s in verdict.scores if not s.ill},
        )
        damaged = [name for name, bad in answer.damaged.items() if bad]
        if damaged:
            judged = judged._replace(verdict="fault")
        if damaged and not math.isinf(judged.R):
            judged = judged._replace(R=float("inf"), tensor=damaged[0], place="changed")
        results.append(mark_known(judged, case, known_deviations()))
    return results


def check_optimizers(
    cases: Iterable[OptimizerCase], dtypes: Sequence[str], paths: Sequence[str], workers: int = 1
) -> Generator[list[Result], None, None]:
    """Yield the results of each case as soon as it is finished. What ends its process has the
    verdict crash."""
    work = partial(_examine_dtypes, dtypes=dtypes, paths=paths)
    in_pieces = partial(_examine_pieces, dtypes=dtypes, paths=paths)
    yield from map_unordered(work, cases, workers, in_pieces)


def _examine_dtypes(
    case: OptimizerCase, dtypes: Sequence[str], paths: Sequence[str]
) -> list[Result]:
    return [r for dtype in dtypes for r in examine_optimizers(case, dtype, paths)]


def _examine_pieces(
    case: OptimizerCase, crash: Crash, dtypes: Sequence[str], paths: Sequence[str]
) -> list[Result]:
    """The results of a case that ends its process; each path and dtype in a process of its own."""
    results: list[Result] = []
    for dtype in dtypes:
        for name in paths:
            work = partial(examine_optimizers, dtype=dtype, paths=[name])
            try:
                results += run_isolated(work, case)
            except Crash as again:
                results.append(crashed(_blank_result(case, name, dtype), again))
    return results


def _blank_result(case: OptimizerCase, path: str, dtype: str, note: str = "") -> Result:
    """The result of a path that cannot compute a case, for the reason in `note`."""
    return Result(case.id, path, dtype, case.optimizer, "excluded", 0, "", "", "", 0, note, {})
