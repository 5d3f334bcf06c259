"""A run recorded: the corpus examined, case by case, and nothing lost when it is killed.

Every case that is done is a line of RUN.journal; once all is done the journal becomes RUN, and
goes.

Nothing is written over but a run of the same plan in the same environment, a damaged one, and
their journals; those of other code too, for this code can neither repeat nor finish them.
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
from .examine import Answer, answers
from .journal import Done, alone, line, others, resume, told
from .run_file import (
    LARGEST,
    BadRun,
    LaterRun,
    Row,
    Run,
    Tensor,
    beside,
    bits,
    digest,
    name_of,
    read,
    write,
)
from .workers import spread

BYTES_A_RESULT = 850  # as measured


class Plan(NamedTuple):
    """What is to be recorded."""

    cases: int
    seed: int
    dtypes: list[str]
    paths: list[str]
    values: list[str]  # ids of the cases whose tensors are kept too


def record(
    file: Path,
    plan: Plan,
    environment: dict[str, Any],
    workers: int = 1,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> Run:
    """Examine what the plan asks for and write it to `file`; `tell` hears how far it has come.
    Raises OSError, and BadRun for a plan too long for one file, or without any result, and where
    another run, or what is none, would be lost."""
    results = (plan.cases + len(plan.values)) * len(plan.dtypes) * len(plan.paths)
    if results * BYTES_A_RESULT > LARGEST:
        raise BadRun(
            f"{results} results do not fit into one file; "
            f"record at most {LARGEST // BYTES_A_RESULT}, with fewer --cases or --path"
        )
    cases = cases_of(plan)
    journal = file.with_name(f"{file.name}.journal")
    head = {"oracle": oracle(), "environment": environment, "plan": plan._asdict()}
    with alone(journal):
        _keep_others(file, head)
        with told(journal):
            found = {done.case: done for done in resume(journal, head)}
        todo = [case for case in cases if case.id not in found]
        tell(len(found), len(cases))
        work = partial(
            examined, dtypes=plan.dtypes, paths=plan.paths, values=frozenset(plan.values)
        )
        for done in spread(work, todo, workers):
            found[done.case] = done
            with told(journal), journal.open("a", encoding="utf-8") as lines:
                lines.write(line(done))
            tell(len(found), len(cases))
        rows = [row for case in cases for row in found[case.id].rows]
        if not rows:
            journal.unlink()
            raise BadRun(no_case(plan.paths, plan.dtypes))
        values = {name: value for case in cases for name, value in found[case.id].values.items()}
        run = Run(oracle(), LIMIT, environment, plan._asdict(), rows)
        with told(file):
            write(file, run, values)
        journal.unlink()
    return run


def no_case(paths: Sequence[str], dtypes: Sequence[str]) -> str:
    """What is said where there is nothing to examine: more cases do not help where a path has no
    such type."""
    where = f"{', '.join(paths)} in {', '.join(dtypes)}"
    return f"no case of this corpus exists on {where}; ask for more --cases, or another --dtype"


def cases_of(plan: Plan) -> list[Case]:
    """The corpus, and the cases asked for by name."""
    cases = cases_for(plan.cases, plan.seed, plan.paths)
    named = [parse(name) for name in plan.values]
    return list({case.id: case for case in [*cases, *named]}.values())


def examined(
    case: Case, dtypes: Sequence[str], paths: Sequence[str], values: frozenset[str]
) -> Done:
    """A case on every path in every dtype, the paths that do not exist for it left out."""
    chosen = [path_named(name) for name in paths]
    rows: list[Row] = []
    kept: dict[str, np.ndarray] = {}
    for dtype in dtypes:
        for answer in answers(case, dtype, chosen):
            if answer.result.verdict == "excluded":
                continue
            row = _row(answer)
            rows.append(row)
            if case.id in values:
                kept |= {name_of(row, name): value for name, value in answer.tensors.items()}
    return Done(case.id, rows, kept)


def _row(answer: Answer) -> Row:
    result, tensors, masks = answer
    words = {
        name: "".join(c if c.isprintable() else " " for c in getattr(result, name))
        for name in ("case", "path", "dtype", "verdict", "tensor", "place", "kernel", "note")
    }
    found = {
        name: Tensor(result.tensors.get(name), bits(tensors[name])) for name in sorted(tensors)
    }
    drawn = digest(*(bits(mask).encode() for mask in masks)) if masks else ""
    return Row(**words, R=result.R, seconds=result.seconds, drawn=drawn, tensors=found)


def oracle() -> str:
    """A digest of the code that judges; two runs of different code may differ for that reason."""
    parts = []
    for package in (reference, torch_impl, bptt_oracle):
        folder = Path(package.__path__[0])
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file.suffix != ".pyc":
                name = f"{package.__name__}/{file.relative_to(folder).as_posix()}"
                parts += [name.encode(), file.read_bytes()]
    return digest(*parts)


def _keep_others(file: Path, head: dict[str, Any]) -> None:
    """Raises BadRun where a run of another plan or environment, or values that are not those of
    the run beside them, would be written over."""
    old = None
    try:
        old = read(file) if file.is_file() else None
    except LaterRun:
        raise
    except BadRun:
        pass  # to be recorded again, as whoever reads it is told
    another = old and others({"environment": old.environment, "plan": old.plan}, head)
    if another:
        raise BadRun(f"{file} is a run of {another}; remove it, or name another file")
    values = beside(file)
    if not head["plan"]["values"] or not values.exists():
        return
    if old is None or not values.is_file() or digest(values.read_bytes()) != old.values:
        raise BadRun(f"{values} does not hold values of {file}; remove it, or name another file")
