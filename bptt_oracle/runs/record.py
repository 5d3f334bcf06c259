"""Record a run: examine a corpus case by case, so that a kill loses at most the unfinished cases.

Each finished case is added to RUN.unfinished, a database. When the last one finishes, it is written
as RUN, RUN is read back, and the unfinished run is deleted. A case for which memory runs out is not
finished: the unfinished run stays, and the same command tries the case again. A path that ends the
process of its case is recorded as a crash, unless by SIGKILL, which is how a system short of memory
ends processes.

An existing RUN or unfinished run is overwritten only if its plan and environment are the same, or
if it is damaged. That includes files recorded by other code, because this code can neither repeat
nor continue them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import bptt_oracle
import reference
import torch_impl

from ..cases.case import Case, parse
from ..cases.corpus import draw_cases_for
from ..implementations.growing import growing_cases
from ..implementations.loading import implementation_named, is_torch_path
from ..judging.deviations import mark_known
from ..judging.judge import LIMIT
from ..processes.failures import Crash
from ..processes.workers import map_unordered, run_isolated
from .examine import (
    OUT_OF_RESOURCES,
    JudgedOutcome,
    blank_result,
    crashed,
    deviations_of,
    judge_implementations,
    no_case_message,
)
from .files import printable
from .opening import open_runs
from .read_json import is_json
from .row import BadRun, NewerRun, Row, TensorDigest, array_digest, digest
from .run import kind_of
from .schema import Head, KeptTensor
from .store import FinishedCase, Summary, describe_mismatch, open_store, publish

LONGEST_TEXT = 2000  # characters of a note


class UnfinishedRun(BadRun):
    """Some cases could not be finished; the unfinished run keeps the others."""


class UnfinishedCase(NamedTuple):
    """A case that could not be finished, and why."""

    case: str
    reason: str


class Plan(NamedTuple):
    """What to record."""

    cases: int
    seed: int
    dtypes: list[str]
    paths: list[str]
    values: list[str]  # ids of the cases whose tensors are recorded, too
    own: Sequence[Case] = ()  # cases instead of the corpus

    @property
    def facts(self) -> dict[str, Any]:
        """What a run file keeps of the plan: of own cases the number and a digest of the ids."""
        facts = self._asdict()
        if own := facts.pop("own"):
            ids = digest(*(case.id.encode() for case in own))
            facts |= {"cases": len(own), "own cases": ids}
        return facts


def _ignore_progress(finished: int, total: int) -> None:
    """The default of `record`."""


def record(
    file: Path,
    plan: Plan,
    environment: dict[str, Any],
    workers: int = 1,
    report_progress: Callable[[int, int], None] = _ignore_progress,
) -> Summary:
    """Examine the cases of the plan and write the run to `file`. `report_progress(finished, total)`
    is called at the start and after each case. Raises OSError; and BadRun if the plan yields no
    result, or if it would overwrite a file that is not a run or is another run; and UnfinishedRun
    if memory or another resource ran out in a case."""
    total = sum(1 for _ in select_cases(plan))
    head = Head(code_digest(), LIMIT, environment, plan.facts)
    work = partial(finish_case, dtypes=plan.dtypes, paths=plan.paths, values=frozenset(plan.values))
    in_pieces = partial(
        _finish_pieces, dtypes=plan.dtypes, paths=plan.paths, values=frozenset(plan.values)
    )
    with open_store(file, head) as store:
        protect_other_run(file, head)
        finished = store.number_of_cases()
        report_progress(finished, total)
        remaining = (case for case in select_cases(plan) if not store.has(case.id))
        unfinished: list[UnfinishedCase] = []
        isolate = not all(map(is_torch_path, plan.paths))
        for one in map_unordered(work, remaining, workers, in_pieces, isolate):
            if isinstance(one, UnfinishedCase):
                unfinished.append(one)
                continue
            store.add(one)
            finished += 1
            report_progress(finished, total)
        if unfinished:
            raise _unfinished_run(unfinished, store.file)
        summary = store.summary()
        if not summary.verdicts:  # every path is excluded for every case
            store.remove_cases()  # so that it is deleted
            raise BadRun(no_case_message(plan.paths, plan.dtypes, plan.own))
        publish(store, file)
    return summary


def select_cases(plan: Plan) -> Iterator[Case]:
    """The own cases; or the corpus, or the cases that grow for each implementation that is not a
    path of torch; then the cases of `plan.values` that are not among them. Each case is yielded
    once, and those of the corpus are not all in memory."""
    named = {name: parse(name) for name in plan.values}
    if plan.own:
        yield from plan.own
        for case in plan.own:
            named.pop(case.id, None)
        yield from named.values()
        return
    on_torch = [name for name in plan.paths if is_torch_path(name)]
    cases: Iterable[Case] = draw_cases_for(plan.cases, plan.seed, on_torch) if on_torch else []
    if len(on_torch) < len(plan.paths):
        grown = [
            growing_cases(implementation_named(name), plan.cases, plan.seed)
            for name in plan.paths
            if name not in on_torch
        ]
        cases = {case.id: case for case in chain(cases, *grown)}.values()
    for case in cases:
        named.pop(case.id, None)
        yield case
    yield from named.values()


def finish_case(
    case: Case, dtypes: Sequence[str], paths: Sequence[str], values: frozenset[str]
) -> FinishedCase | UnfinishedCase:
    """Examine a case on every path in every dtype, without the paths that are excluded for it.
    The tensors are returned too if `values` has the id of the case."""
    chosen = [implementation_named(name) for name in paths]
    whole = FinishedCase(case.id, [], [])
    for dtype in dtypes:
        outcomes = judge_implementations(case, dtype, chosen)
        for implementation, outcome in zip(chosen, outcomes, strict=True):
            result = mark_known(outcome.result, case, deviations_of(implementation))
            outcome = outcome._replace(result=result)
            if result.verdict == "excluded":
                continue
            if result.verdict == OUT_OF_RESOURCES:
                return UnfinishedCase(case.id, result.note)
            row = to_row(outcome)
            whole.rows.append(row)
            if case.id in values:
                whole.kept.extend(
                    KeptTensor(row.path, row.dtype, name, value)
                    for name, value in outcome.tensors.items()
                )
    return whole


def _finish_pieces(
    case: Case,
    crash: Crash,
    dtypes: Sequence[str],
    paths: Sequence[str],
    values: frozenset[str],
) -> FinishedCase | UnfinishedCase:
    """Finish a case that ends its process; each path and dtype in a process of its own."""
    whole = FinishedCase(case.id, [], [])
    for dtype in dtypes:
        for path in paths:
            work = partial(finish_case, dtypes=[dtype], paths=[path], values=values)
            try:
                piece = run_isolated(work, case)
            except Crash as again:
                if again.killed:
                    return UnfinishedCase(case.id, f"{path} {dtype}: {again}")
                result = crashed(blank_result(case, path, dtype), again)
                whole.rows.append(to_row(JudgedOutcome(result)))
                continue
            if isinstance(piece, UnfinishedCase):
                return piece
            whole.rows.extend(piece.rows)
            whole.kept.extend(piece.kept)
    return whole


def _unfinished_run(cases: Sequence[UnfinishedCase], file: Path) -> UnfinishedRun:
    shown = "; ".join(f"{one.case} ({one.reason})" for one in cases[:3])
    more = f"; and {len(cases) - 3} more" if len(cases) > 3 else ""
    return UnfinishedRun(
        f"not finished: {shown}{more}; {file} keeps the other cases, and the same command tries "
        "these again, with fewer --workers in more memory for each"
    )


def to_row(outcome: JudgedOutcome) -> Row:
    """The result as a row of the run file. Control characters become spaces."""
    result, tensors, masks = outcome.result, outcome.tensors, outcome.masks
    texts = {
        name: printable(getattr(result, name))[:LONGEST_TEXT]
        for name in ("case", "path", "dtype", "verdict", "tensor", "place", "kernel", "note")
    }
    digests = {
        name: TensorDigest(result.tensors.get(name), array_digest(tensors[name]))
        for name in sorted(tensors)
    }
    mask_digest = digest(*(array_digest(mask).encode() for mask in masks)) if masks else ""
    return Row(**texts, R=result.R, seconds=result.seconds, masks=mask_digest, tensors=digests)


def code_digest() -> str:
    """A digest of every file of the packages that derive, run and judge. If it differs between two
    runs, their results may differ for that reason."""
    parts = []
    for package in (reference, torch_impl, bptt_oracle):
        folder = Path(package.__path__[0])
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file.suffix != ".pyc":
                name = f"{package.__name__}/{file.relative_to(folder).as_posix()}"
                parts += [name.encode(), file.read_bytes()]
    return digest(*parts)


def protect_other_run(file: Path, head: Head) -> None:
    """Raise BadRun if `file` is a run of another plan or environment."""
    try:
        if not file.is_file() or not (is_json(file) or kind_of(file)):
            return
        with open_runs(file) as (old,):
            recorded = Head(old.code_digest, old.limit, old.environment, old.plan)
    except NewerRun:
        raise
    except BadRun:
        return  # damaged: recorded again, as the message of `open_runs` advises
    if mismatch := describe_mismatch(recorded, head):
        raise BadRun(f"{file} is a run of {mismatch}; remove it, or name another file")
