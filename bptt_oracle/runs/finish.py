"""Finish a case of a run: examine it on every path in every dtype, and make rows of the results."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import bptt_oracle
import reference
import torch_impl

from ..cases.case import Case
from ..implementations.loading import implementation_named
from ..judging.deviations import mark_known
from ..processes.failures import Crash
from ..processes.workers import run_isolated
from .examine import JudgedOutcome, deviations_of, judge_implementations
from .files import printable
from .results import OUT_OF_RESOURCES, blank_result, crashed
from .row import Row, TensorDigest, array_digest, digest
from .schema import KeptTensor
from .store import FinishedCase

LONGEST_TEXT = 2000  # characters of a note


class UnfinishedCase(NamedTuple):
    """A case that could not be finished, and why."""

    case: str
    reason: str


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


def finish_in_pieces(
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


def to_row(outcome: JudgedOutcome) -> Row:
    """The result as a row of the run file. Control characters become spaces."""
    result, tensors, masks = outcome.result, outcome.tensors, outcome.masks
    texts: dict[str, Any] = {
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
