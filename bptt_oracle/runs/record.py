"""Record a run: examine a corpus case by case, so that a kill loses at most the unfinished cases.

Each finished case is appended to RUN.journal. When the last one finishes, the journal is converted
to RUN and deleted.

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
from torch_impl.execution.catalogue import path_named

from ..cases.case import Case, parse
from ..cases.corpus import cases_for
from ..judging.judge import LIMIT
from ..processes.workers import map_unordered
from .examine import JudgedOutcome, judge_paths, no_case_message
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
    read,
    tensor_key,
    values_path,
    write,
)

BYTES_PER_RESULT = 850  # measured


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
    another run."""
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
        for one in map_unordered(work, remaining, workers):
            finished[one.case] = one
            with write_errors_as_bad_run(journal), journal.open("a", encoding="utf-8") as lines:
                lines.write(to_line(one))
            report_progress(len(finished), len(cases))
        rows = [row for case in cases for row in finished[case.id].rows]
        if not rows:
            journal.unlink()
            raise BadRun(no_case_message(plan.paths, plan.dtypes))
        values = {name: a for case in cases for name, a in finished[case.id].values.items()}
        run = Run(code, LIMIT, environment, plan._asdict(), rows)
        with write_errors_as_bad_run(file):
            write(file, run, values)
        journal.unlink()
    return run


def select_cases(plan: Plan) -> list[Case]:
    """The corpus, then the cases of `plan.values` that are not in it."""
    cases = cases_for(plan.cases, plan.seed, plan.paths)
    named = [parse(name) for name in plan.values]
    return list({case.id: case for case in [*cases, *named]}.values())


def finish_case(
    case: Case, dtypes: Sequence[str], paths: Sequence[str], values: frozenset[str]
) -> FinishedCase:
    """Examine a case on every path in every dtype, without the paths that are excluded for it.
    The tensors are returned too if `values` has the id of the case."""
    chosen = [path_named(name) for name in paths]
    rows: list[Row] = []
    tensors: dict[str, np.ndarray] = {}
    for dtype in dtypes:
        for outcome in judge_paths(case, dtype, chosen):
            if outcome.result.verdict == "excluded":
                continue
            row = to_row(outcome)
            rows.append(row)
            if case.id in values:
                tensors |= {tensor_key(row, name): a for name, a in outcome.tensors.items()}
    return FinishedCase(case.id, rows, tensors)


def to_row(outcome: JudgedOutcome) -> Row:
    """The result as a row of the run file. Unprintable characters become spaces."""
    result, tensors, masks = outcome
    texts = {
        name: "".join(c if c.isprintable() else " " for c in getattr(result, name))
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
    if old is None or not values.is_file() or digest(values.read_bytes()) != old.values:
        raise BadRun(f"{values} does not hold values of {file}; remove it, or name another file")
