"""Record a run: examine a corpus case by case, so that a kill loses at most the unfinished cases.

Each finished case is added to RUN.unfinished, a database. When the last one finishes, it is written
as RUN, RUN is read back, and the unfinished run is deleted. A case for which memory runs out is not
finished: the unfinished run stays, and the same command tries the case again. A path that ends the
process of its case is recorded as a crash, unless by SIGKILL, which is how a system short of memory
ends processes.

The cases are worked on in this process, in worker processes, or in chunks on the workers of an
executor; see `campaign.py`. The environment is then that of the worker, and a run may have several.

A finished RUN of the same plan and environment is overwritten, and so is a damaged one; a finished
run of an executor is not. An unfinished run is continued by the code that began it. BadRun is
raised for an unfinished run of other code, for a damaged one, and for a file of another plan or
environment.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from ..cases.case import Case, parse
from ..cases.corpus import draw_cases_for
from ..implementations.growing import growing_cases
from ..implementations.loading import implementation_named, is_torch_path
from ..judging.judge import LIMIT
from ..processes.chunks import Engine, engine_of, map_chunks
from ..processes.stages import work_in_stages
from ..processes.workers import map_unordered
from .campaign import Task, finish_chunk, give_up
from .checking import no_case_message
from .finish import UnfinishedCase, code_digest, finish_case, finish_in_pieces
from .opening import open_runs
from .read_json import is_json
from .row import BadRun, NewerRun, digest
from .run import kind_of
from .schema import Head, as_text
from .store import FinishedCase, Summary, describe_mismatch, open_store, publish


class UnfinishedRun(BadRun):
    """Some cases could not be finished; the unfinished run keeps the others."""


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
    executor: Executor | Engine | None = None,
    stages: Path | None = None,
) -> Summary:
    """Examine the cases of the plan and write the run to `file`. `report_progress(finished, total)`
    is called at the start and whenever cases are finished.

    The cases are worked on by `workers` processes of this machine, and the run has `environment`;
    or by an executor with that many workers, and each result has the environment of its worker. A
    run that executors have begun is continued in any environment, and once it is finished it is not
    recorded again. What each of the `workers` is doing is written to the folder `stages`, if any;
    not by an executor.

    Raises OSError if the file cannot be written; ValueError for an id in `plan.values` that is not
    one; BadRun if the plan yields no result, if it would overwrite a file that is not a run or is
    another run, or if an executor's run is finished; UnfinishedRun if memory or another resource
    ran out in a case; and CommandError if the executor ends, or if its workers have other code.
    """
    total = sum(1 for _ in select_cases(plan))
    engine = engine_of(executor, workers) if isinstance(executor, Executor) else executor
    environments = [environment] if engine is None else []
    head = Head(code_digest(), LIMIT, environments, plan.facts)
    with open_store(file, head) as store:
        protect_other_run(file, head)
        finished = store.number_of_cases()
        report_progress(finished, total)
        remaining = (case for case in select_cases(plan) if not store.has(case.id))
        unfinished: list[UnfinishedCase] = []
        if engine is None:
            found = _on_this_machine(plan, remaining, workers, stages)
        else:
            found = _on_engine(plan, head.code_digest, remaining, total - finished, engine)
        for some, facts in found:
            unfinished += [one for one in some if isinstance(one, UnfinishedCase)]
            whole = [one for one in some if isinstance(one, FinishedCase)]
            store.add(*whole, environment=facts)
            finished += len(whole)
            report_progress(finished, total)
        if unfinished:
            raise _unfinished_run(unfinished, store.file)
        if lost := total - store.number_of_cases():
            raise UnfinishedRun(
                f"{lost} of {total} cases gave no result, although no process ended; {store.file} "
                "keeps the others, and the same command tries these again"
            )
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


_Found = tuple[Sequence[FinishedCase | UnfinishedCase], dict[str, Any] | None]


def _on_this_machine(
    plan: Plan, cases: Iterable[Case], workers: int, stages: Path | None
) -> Iterator[_Found]:
    """Each case as soon as it is finished, in the environment of the run."""
    options: dict[str, Any] = {"dtypes": plan.dtypes, "paths": plan.paths}
    options["values"] = frozenset(plan.values)
    work = partial(work_in_stages, stages, partial(finish_case, **options))
    in_pieces = partial(finish_in_pieces, **options)
    isolate = not all(map(is_torch_path, plan.paths))
    for one in map_unordered(work, cases, workers, in_pieces, isolate):
        yield [one], None


def _on_engine(
    plan: Plan, code: str, cases: Iterable[Case], number: int, engine: Engine
) -> Iterator[_Found]:
    """The cases of each chunk as soon as it is finished, and the environment of its worker."""
    task = Task(plan.dtypes, plan.paths, frozenset(plan.values), code, engine.mark)
    work, without = partial(finish_chunk, task=task), partial(give_up, task=task)
    for answer in map_chunks(work, cases, number, engine, without, attrgetter("id")):
        yield answer.outputs, answer.facts


def _unfinished_run(cases: Sequence[UnfinishedCase], file: Path) -> UnfinishedRun:
    shown = "; ".join(f"{one.case} ({one.reason})" for one in cases[:3])
    more = f"; and {len(cases) - 3} more" if len(cases) > 3 else ""
    return UnfinishedRun(
        f"not finished: {shown}{more}; {file} keeps the other cases, and the same command tries "
        "these again; give it fewer --workers if memory ran out"
    )


def protect_other_run(file: Path, head: Head) -> None:
    """Raise BadRun if `file` is a run of another plan or environment."""
    try:
        if not file.is_file() or not (is_json(file) or kind_of(file)):
            return
        with open_runs(file) as (old,):
            recorded = Head(old.code_digest, old.limit, old.environments, old.plan)
    except NewerRun:
        raise
    except BadRun:
        return  # damaged: recorded again, as the message of `open_runs` advises
    if not head.environments and as_text(recorded) == as_text(head):
        raise BadRun(f"{file} is finished; remove it to record it again, or name another --output")
    if mismatch := describe_mismatch(recorded, head):
        raise BadRun(f"{file} is a run of {mismatch}; remove it, or name another --output")
