"""Record a run: examine a corpus case by case, so that a kill loses at most the unfinished cases.

Each finished case is appended to RUN.journal. When the last one finishes, the journal is converted
to RUN, RUN is read back, and the journal is deleted. A case for which memory runs out is not
finished: the journal stays, and the same command tries the case again. A path that ends the process
of its case is recorded as a crash, unless by SIGKILL, which is how a system short of memory ends
processes.

An existing RUN or journal is overwritten only if its plan and environment are the same, or if it is
damaged. That includes files recorded by other code, because this code can neither repeat nor
continue them.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import bptt_oracle
import reference
import torch_impl

from ..cases.case import Case, parse
from ..cases.corpus import cases_for
from ..implementations.growing import growing_cases
from ..implementations.loading import implementation_named, is_torch_path
from ..judging.judge import LIMIT
from ..processes.failures import Crash
from ..processes.workers import map_unordered, run_isolated
from .examine import (
    OUT_OF_RESOURCES,
    JudgedOutcome,
    blank_result,
    crashed,
    judge_implementations,
    no_case_message,
)
from .files import printable
from .journal import (
    FinishedCase,
    describe_mismatch,
    exclusive_lock,
    resume,
    to_line,
    write_errors_as_bad_run,
)
from .run_file import (
    LARGEST,
    BadRun,
    NewerRun,
    Row,
    Run,
    TensorDigest,
    array_digest,
    digest,
    file_digest,
    read,
    read_values,
    tensor_key,
    values_path,
    write,
)

BYTES_PER_RESULT = 850  # measured
LONGEST_TEXT = 2000  # characters of a note


class UnfinishedRun(BadRun):
    """Some cases could not be finished; the journal keeps the others."""


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


def _ignore_progress(finished: int, total: int) -> None:
    """The default of `record`."""


def record(
    file: Path,
    plan: Plan,
    environment: dict[str, Any],
    workers: int = 1,
    report_progress: Callable[[int, int], None] = _ignore_progress,
) -> Run:
    """Examine the cases of the plan and write the run to `file`. `report_progress(finished, total)`
    is called at the start and after each case. Raises OSError; and BadRun if the plan is too long
    for one file, if it yields no result, or if it would overwrite a file that is not a run or is
    another run; and UnfinishedRun if memory or another resource ran out in a case."""
    results = (plan.cases + len(plan.values)) * len(plan.dtypes) * len(plan.paths)
    if results * BYTES_PER_RESULT > LARGEST:
        raise BadRun(
            f"{results} results do not fit into one file; "
            f"record at most {LARGEST // BYTES_PER_RESULT}, with fewer --cases or --path"
        )
    cases = select_cases(plan)
    code = code_digest()
    journal = file.with_name(f"{file.name}.journal")
    head = {"code_digest": code, "environment": environment, "plan": plan._asdict()}
    with exclusive_lock(journal):
        _protect_other_run(file, head)
        with write_errors_as_bad_run(journal):
            finished = {one.case: one for one in resume(journal, head)}
        remaining = [case for case in cases if case.id not in finished]
        report_progress(len(finished), len(cases))
        work = partial(
            finish_case, dtypes=plan.dtypes, paths=plan.paths, values=frozenset(plan.values)
        )
        in_pieces = partial(
            _finish_pieces, dtypes=plan.dtypes, paths=plan.paths, values=frozenset(plan.values)
        )
        unfinished: list[UnfinishedCase] = []
        for one in map_unordered(work, remaining, workers, in_pieces):
            if isinstance(one, UnfinishedCase):
                unfinished.append(one)
                continue
            finished[one.case] = one
            with write_errors_as_bad_run(journal), journal.open("a", encoding="utf-8") as lines:
                lines.write(to_line(one))
            report_progress(len(finished), len(cases))
        if unfinished:
            raise _unfinished_run(unfinished, journal)
        rows = [row for case in cases for row in finished[case.id].rows]
        if not rows:
            journal.unlink()
            raise BadRun(no_case_message(plan.paths, plan.dtypes))
        values = {name: a for case in cases for name, a in finished[case.id].values.items()}
        run = Run(code, LIMIT, environment, plan._asdict(), rows)
        with write_errors_as_bad_run(file):
            write(file, run, values)
        _read_back(file, run, journal)
        journal.unlink()
    return run


def select_cases(plan: Plan) -> list[Case]:
    """The corpus, or the cases that grow for each implementation that is not a path of torch; then
    the cases of `plan.values` that are not among them."""
    on_torch = [name for name in plan.paths if is_torch_path(name)]
    cases = cases_for(plan.cases, plan.seed, on_torch) if on_torch else []
    for name in plan.paths:
        if name not in on_torch:
            cases += growing_cases(implementation_named(name), plan.cases, plan.seed)
    named = [parse(name) for name in plan.values]
    return list({case.id: case for case in [*cases, *named]}.values())


def finish_case(
    case: Case, dtypes: Sequence[str], paths: Sequence[str], values: frozenset[str]
) -> FinishedCase | UnfinishedCase:
    """Examine a case on every path in every dtype, without the paths that are excluded for it.
    The tensors are returned too if `values` has the id of the case."""
    chosen = [implementation_named(name) for name in paths]
    rows: list[Row] = []
    tensors: dict[str, np.ndarray] = {}
    for dtype in dtypes:
        for outcome in judge_implementations(case, dtype, chosen):
            if outcome.result.verdict == "excluded":
                continue
            if outcome.result.verdict == OUT_OF_RESOURCES:
                return UnfinishedCase(case.id, outcome.result.note)
            row = to_row(outcome)
            rows.append(row)
            if case.id in values:
                tensors |= {tensor_key(row, name): a for name, a in outcome.tensors.items()}
    return FinishedCase(case.id, rows, tensors)


def _finish_pieces(
    case: Case,
    crash: Crash,
    dtypes: Sequence[str],
    paths: Sequence[str],
    values: frozenset[str],
) -> FinishedCase | UnfinishedCase:
    """Finish a case that ends its process; each path and dtype in a process of its own."""
    whole = FinishedCase(case.id, [], {})
    for dtype in dtypes:
        for path in paths:
            work = partial(finish_case, dtypes=[dtype], paths=[path], values=values)
            try:
                piece = run_isolated(work, case)
            except Crash as again:
                if again.killed:
                    return UnfinishedCase(case.id, f"{path} {dtype}: {again}")
                result = crashed(blank_result(case, path, dtype), again)
                whole.rows.append(to_row(JudgedOutcome(result, {}, [])))
                continue
            if isinstance(piece, UnfinishedCase):
                return piece
            whole.rows.extend(piece.rows)
            whole.values.update(piece.values)
    return whole


def _unfinished_run(cases: Sequence[UnfinishedCase], journal: Path) -> UnfinishedRun:
    shown = "; ".join(f"{one.case} ({one.reason})" for one in cases[:3])
    more = f"; and {len(cases) - 3} more" if len(cases) > 3 else ""
    return UnfinishedRun(
        f"not finished: {shown}{more}; {journal} keeps the other cases, and the same command tries "
        "these again, with fewer --workers in more memory for each"
    )


def _read_back(file: Path, run: Run, journal: Path) -> None:
    """Raise BadRun unless the file holds the run, so that the journal is deleted only then."""
    try:
        again = read(file)
        read_values(file, again)
    except BadRun as error:
        raise BadRun(f"{error}; {journal} keeps all cases") from None
    if [row.key for row in again.rows] != [row.key for row in run.rows]:
        raise BadRun(f"{file} holds other results than were written; {journal} keeps all cases")


def to_row(outcome: JudgedOutcome) -> Row:
    """The result as a row of the run file. Control characters become spaces."""
    result, tensors, masks = outcome
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


def _protect_other_run(file: Path, head: dict[str, Any]) -> None:
    """Raise BadRun if `file` is a run of another plan or environment, or if values would be
    written over a file that is not the values file of that run."""
    old = None
    try:
        old = read(file) if file.is_file() else None
    except NewerRun:
        raise
    except BadRun:
        pass  # damaged: recorded again, as the message of `read` advises
    if old is not None:
        recorded = {"environment": old.environment, "plan": old.plan}
        if mismatch := describe_mismatch(recorded, head):
            raise BadRun(f"{file} is a run of {mismatch}; remove it, or name another file")
    values = values_path(file)
    if not head["plan"]["values"] or not values.exists():
        return
    if old is None or not values.is_file() or file_digest(values) != old.values:
        raise BadRun(f"{values} does not hold values of {file}; remove it, or name another file")
