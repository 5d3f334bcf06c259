"""Runs of the same cases that workers with equal software must record with equal bits, compared.

The worker of a run is its file; of a run with several environments, the file and the number of the
environment. Workers whose environments are equal in what decides the bits, with the same code and
plan, are a cohort. For each result, what more than half of those computed that have it, of three
at least, is what the others are compared with. The runs are read side by side in the order of
their keys, so that the memory does not depend on the number of results.
Page: docs/fleet/fleet.md
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..runs.kept import kept_values
from ..runs.opening import open_runs
from ..runs.row import Row, digest, format_value
from ..runs.run import Run, read_rows, reading
from .cohort import Entries, Group, Odd, Worker, majority
from .sketch import causal_order

NO_INFLUENCE = ("platform", "python")  # facts of an environment that do not decide the bits
MOST = 1000  # results that are listed of a cohort or worker

Member = tuple[int, int]  # the number of a run, and of its environment


class _Odd(NamedTuple):
    """What a worker computed otherwise than the majority."""

    parts: list[str]
    equal: int  # workers of the majority in the first of them
    first: tuple[Row, Row, int]  # its row, that of the majority, and the run that has this one


def compare_runs(files: Sequence[Path]) -> tuple[Group, ...]:
    """Compare the workers of each cohort. Raises BadRun."""
    if not files:
        return ()
    with open_runs(*files) as runs:
        cohorts: dict[Entries, list[Member]] = defaultdict(list)
        for number, run in enumerate(runs):
            for environment in range(len(run.environments)):
                cohorts[_entries(run, environment)].append((number, environment))
        cohort_of = {one: members for members in cohorts.values() for one in members}
        odd: dict[Member, _Odd] = {}
        undecided: dict[Member, list[str]] = {members[0]: [] for members in cohorts.values()}
        for rows in _side_by_side(runs):
            for members in {id(m): m for m in map(cohort_of.get, rows) if m}.values():
                own = {one: rows[one] for one in members if one in rows}
                _compare_result(own, odd, undecided[members[0]])
        groups = []
        for entries, members in cohorts.items():
            found = [_describe(one, odd[one], runs) for one in members if one in odd]
            workers = tuple(_worker(one, runs) for one in members)
            groups.append(Group(entries, workers, tuple(undecided[members[0]]), tuple(found)))
    return tuple(sorted(groups, key=lambda group: -len(group.workers)))


def _entries(run: Run, environment: int) -> Entries:
    """What the workers of a cohort have in common."""
    facts = {n: format_value(v) for n, v in run.environments[environment].items()}
    plan = ", ".join(f"{n} {format_value(v)}" for n, v in run.plan.items() if n != "values")
    facts |= {"code": run.code_digest, "plan": plan}
    return tuple(sorted((n, value) for n, value in facts.items() if n not in NO_INFLUENCE))


def _worker(one: Member, runs: Sequence[Run]) -> Worker:
    number, environment = one
    several = len(runs[number].environments) > 1
    return str(runs[number].file), f"environment {environment}" * several, "", ""


def _side_by_side(runs: Sequence[Run]) -> Iterator[dict[Member, Row]]:
    """For each key, its results by who computed them."""

    def numbered(number: int) -> Iterator[tuple[tuple[str, str, str], int, Row]]:
        return ((row.key, number, row) for row in read_rows(runs[number]))

    ordered = merge(*map(numbered, range(len(runs))), key=itemgetter(0, 1))
    for _, found in groupby(ordered, key=itemgetter(0)):
        yield {(number, row.environment): row for _, number, row in found}


def _compare_result(rows: dict[Member, Row], odd: dict[Member, _Odd], undecided: list[str]) -> None:
    """Compare what the workers of a cohort have of one result, and note who is odd."""
    bits = {one: _bits(row) for one, row in rows.items()}
    found = majority(Counter(bits.values()), len(rows))
    part = "/".join(next(iter(rows.values())).key)
    if found is None:
        undecided.extend([part][: MOST - len(undecided)])
        return
    usual, count = found
    witness = next(one for one in rows if bits[one] == usual)
    for one, row in rows.items():
        if bits[one] == usual:
            continue
        if one not in odd:
            odd[one] = _Odd([], count, (row, rows[witness], witness[0]))
        odd[one].parts.extend([part][: MOST - len(odd[one].parts)])


def _bits(row: Row) -> str:
    """A digest of all that a worker computed for a result."""
    tensors = (f"{name} {tensor.bits}\n" for name, tensor in sorted(row.tensors.items()))
    return digest(row.masks.encode(), *(text.encode() for text in tensors))


def _describe(one: Member, found: _Odd, runs: Sequence[Run]) -> Odd:
    own, usual, witness = found.first
    place = _place(own, usual, runs[one[0]], runs[witness])
    return Odd(_worker(one, runs), tuple(found.parts), found.equal, place)


def _place(own: Row, usual: Row, run: Run, witness: Run) -> str:
    """Where a result differs from that of the majority: its tensors, and the first element if both
    runs kept the values."""
    part = "/".join(own.key)
    if own.verdict == "crash" or usual.verdict == "crash":
        return f"in {part}; {own.note if own.verdict == 'crash' else 'the majority crashed'}"
    names = sorted(
        (n for n in own.tensors.keys() | usual.tensors.keys() if _of(own, n) != _of(usual, n)),
        key=lambda name: causal_order(name, 0, 1),
    )
    if not names:
        return f"in {part}; its dropout masks are others"
    values = [dict(kept_values(one, own.key)) for one in (run, witness)]
    tensors = f"first in {part}: {_listed(names)}"
    if not all(names[0] in kept for kept in values):
        return f"{tensors}; to name the element, record with --values {own.case}"
    return f"{tensors}; {_element(names[0], *(kept[names[0]] for kept in values))}"


def _of(row: Row, name: str) -> str:
    return row.tensors[name].bits if name in row.tensors else ""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def _element(name: str, own: np.ndarray, usual: np.ndarray) -> str:
    """The first element that differs, and the bits that differ in it."""
    if (own.shape, own.dtype) != (usual.shape, usual.dtype):
        return f"{name} is {own.dtype} {list(own.shape)}, not {usual.dtype} {list(usual.shape)}"
    words = [np.ascontiguousarray(v).reshape(-1).view(f"u{v.itemsize}") for v in (own, usual)]
    mask = words[0] ^ words[1]
    places = np.flatnonzero(mask)
    if not len(places):
        return f"the values that were kept of {name} are equal"
    at = [int(n) for n in np.unravel_index(places[0], own.shape)]
    return (
        f"{name}{at}, xor 0x{int(mask[places[0]]):0{2 * own.itemsize}x}, "
        f"{len(places)} of {own.size} elements differ"
    )


def runs_among(files: Iterable[Path]) -> list[Path]:
    """The files that are runs, also damaged ones. Raises BadRun for one that cannot be read."""
    from ..runs.file_kinds import recorded_content

    runs = []
    for file in files:
        with reading(file):
            if recorded_content(file):
                runs.append(file)
    return runs
