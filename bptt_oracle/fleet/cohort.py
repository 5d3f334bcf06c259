"""Devices that must compute equal bits, compared: the odd one out, by name, element and bits.

Devices of one model, driver, CUDA, cuDNN and torch, with the same entries altogether, are a cohort.
Each device has one vote for each case in each dtype; what more than half of a cohort computed, of
three devices at least, is what the others are compared with. A device whose own lines differ has
no vote. Page: docs/fleet/fleet.md
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .lines import FAILED, UNWELL, BadLine, Line, describe_finding, parse, read_lines, sketches_of
from .sketch import first_difference, locate

LEAST = 3  # devices of a cohort that can have a majority
Worker = tuple[str, str, str, str]  # host, device, UUID, cores
Entries = tuple[tuple[str, str], ...]


class Record(NamedTuple):
    """A line, without its sketches, and where to read it again."""

    worker: Worker
    verdict: str
    cohort: Entries
    digests: dict[str, str]
    has_sketches: bool
    reason: str  # why it could not run, or what is wrong
    file: Path
    position: int


class Odd(NamedTuple):
    """A device that differs from the majority of its cohort."""

    worker: Worker
    parts: tuple[str, ...]  # case/dtype, in which it differs
    equal: int  # devices of the majority in the first of these parts
    place: str  # the result that differs first, its element and the mask of bits, if known


class Group(NamedTuple):
    """A cohort, and what was found in it."""

    entries: Entries
    workers: tuple[Worker, ...]
    undecided: tuple[str, ...]  # parts without a majority
    odd: tuple[Odd, ...]


class Fleet(NamedTuple):
    """What the lines of many devices show."""

    groups: tuple[Group, ...]
    wrong: tuple[Record, ...]  # by their own preflight
    failed: tuple[Record, ...]  # could not run
    rejected: tuple[str, ...]  # lines that cannot be used, in words
    lines: int


def read_records(files: Iterable[Path]) -> tuple[list[Record], list[str]]:
    """The lines of all files, and in words those that were rejected. Raises OSError."""
    records, rejected = [], []
    shared: dict[Any, Any] = {}  # equal entries and digests once, because a fleet has few of them
    for file in files:
        with file.open("rb") as source:
            number = 0
            for number, position, content in read_lines(source):
                try:
                    line = parse(content)
                    entries = shared.setdefault(line.cohort, line.cohort)
                    digests = shared.setdefault((*line.digests.items(),), line.digests)
                    line = line._replace(cohort=entries, digests=digests)
                    records.append(_record(line, file, position))
                except BadLine as error:
                    rejected.append(f"{file} line {number}: {error}")
            if not number:
                rejected.append(f"{file} has no lines")
    return records, rejected


def _record(line: Line, file: Path, position: int) -> Record:
    reason = str(line.raw.get("reason", ""))[:200]
    if line.verdict == UNWELL:
        reason = describe_finding(line.raw["findings"][0])
    has_sketches = bool(line.raw.get("sketches"))
    return Record(
        line.worker,
        line.verdict,
        line.cohort,
        line.digests,
        has_sketches,
        reason,
        file,
        position,
    )


def compare(records: Sequence[Record], rejected: Sequence[str] = ()) -> Fleet:
    """Compare the devices of each cohort. Raises OSError if a file cannot be read again."""
    cohorts: dict[Entries, list[Record]] = defaultdict(list)
    for record in records:
        if record.verdict != FAILED:
            cohorts[record.cohort].append(record)
    groups = [_compare_cohort(entries, members) for entries, members in cohorts.items()]
    return Fleet(
        tuple(sorted(groups, key=lambda group: -len(group.workers))),
        tuple(r for r in records if r.verdict == UNWELL),
        tuple(r for r in records if r.verdict == FAILED),
        tuple(rejected),
        len(records) + len(rejected),
    )


def _compare_cohort(entries: Entries, members: Sequence[Record]) -> Group:
    """The devices of one cohort that differ from its majority."""
    by_worker: dict[Worker, list[Record]] = defaultdict(list)
    for record in members:
        by_worker[record.worker].append(record)
    parts = list(dict.fromkeys(part for record in members for part in record.digests))
    usual: dict[str, tuple[str, int]] = {}
    for part in parts:
        votes: Counter[str] = Counter()
        for own in by_worker.values():
            digests = {record.digests.get(part, "") for record in own}
            votes.update(digests if len(digests) == 1 else ())
        found = majority(votes, len(by_worker))
        if found is not None and found[0]:
            usual[part] = found
    odd = []
    for worker, own in by_worker.items():
        differing = {
            part: record
            for part, (digest, _) in usual.items()
            for record in own
            if record.digests.get(part) != digest
        }
        if differing:
            part, record = next(iter(differing.items()))
            place = _place(record, part, _witness(members, part, usual[part][0]))
            odd.append(Odd(worker, tuple(differing), usual[part][1], place))
    undecided = tuple(part for part in parts if part not in usual)
    return Group(entries, tuple(by_worker), undecided, tuple(odd))


def majority(votes: Counter[str], voters: int) -> tuple[str, int] | None:
    """What more than half of the voters computed, LEAST at least, and how many of them did; None if
    there is no such thing."""
    computed, count = votes.most_common(1)[0] if votes else ("", 0)
    return (computed, count) if voters >= LEAST and 2 * count > voters else None


def _witness(members: Sequence[Record], part: str, digest: str) -> Record | None:
    """A line of the majority that has sketches."""
    return next((r for r in members if r.has_sketches and r.digests.get(part) == digest), None)


def _place(record: Record, part: str, witness: Record | None) -> str:
    """Where a device first differs from the majority, in words."""
    if part not in record.digests:
        return f"it did not compute {part}"
    if witness is None or not record.has_sketches:
        lacking = "its line has" if witness else "the lines of the majority have"
        return f"in {part}; {lacking} no sketches: run preflight with --output"
    try:
        expected, actual = (sketches_of(_read_again(r), part) for r in (witness, record))
    except BadLine as error:
        return f"in {part}; {error}"
    first = first_difference(expected, actual)
    if first is None:
        return f"in {part}; its sketches show no difference"
    name, step = first
    change = locate(expected[name], actual[name], step)
    if change is None:
        steps = f" at step {step}" if len(expected[name].sums) > 1 else ""
        return f"first in {part}/{name}{steps}, in more than one element"
    digits = 16 if expected[name].dtype == "float64" else 8
    mask = change.mask
    if part.endswith("/bfloat16"):  # held in the upper half of a float32
        digits, mask = 4, mask >> 16
    return f"first in {part}/{name}{list(change.element)}, xor 0x{mask:0{digits}x}"


def _read_again(record: Record) -> Line:
    """The whole line of a record. Raises BadLine if the file has changed."""
    with record.file.open("rb") as source:
        source.seek(record.position)
        line = parse(next(read_lines(source))[2])
    if (line.worker, line.digests) != (record.worker, record.digests):
        raise BadLine(f"{record.file} has changed while it was read")
    return line


def status_of(fleet: Fleet) -> int:
    """The exit status: 1 if a device is wrong or odd, else 2 if one was not compared, else 0."""
    if fleet.wrong or any(group.odd for group in fleet.groups):
        return 1
    undecided = any(group.undecided for group in fleet.groups)
    return 2 if undecided or fleet.failed or fleet.rejected or not fleet.groups else 0
