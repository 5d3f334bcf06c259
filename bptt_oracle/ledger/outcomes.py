"""Outcomes of the tests that check claims, and the verdict that they give a claim.

A test here is a function, "file::function"; pytest runs it once for each parametrisation. It counts
as run when every parametrisation that exists on the machine has run. The outcomes of the last runs
are in pytest's cache, where `tests/conftest.py` writes them.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

CACHE_KEY = "bptt-oracle/tests"  # in pytest's cache
PASSED, FAILED, INAPPLICABLE = "passed", "failed", "inapplicable"
VERIFIED, DOES_NOT_HOLD = "verified", "does not hold"
SEVERAL_COMMITS = "several commits"


class Provenance(NamedTuple):
    """Where and when tests ran. `commit` is short, and ends in "+" if files had been changed."""

    commit: str
    date: str
    torch: str
    devices: str


class Record(NamedTuple):
    """One test: its number of parametrisations, and the last outcome of each that has run.

    The key of a parametrisation is what pytest puts in brackets, "" where there is none.
    `inapplicable` is the outcome of one that does not exist on this machine, such as a CUDA path
    without a GPU; a parametrisation that was left out by choice has no outcome.
    """

    provenance: Provenance
    parametrisations: int
    outcomes: dict[str, str]

    @property
    def failed(self) -> bool:
        return FAILED in self.outcomes.values()

    @property
    def ran(self) -> bool:
        """Whether everything that exists on this machine has run, and something has."""
        complete = len(self.outcomes) == self.parametrisations
        return complete and set(self.outcomes.values()) != {INAPPLICABLE}


Records = dict[str, Record]  # by test, "file::function"


def merged(before: Records, now: Records) -> Records:
    """The records after one more run.

    A parametrisation that did not run now keeps its last outcome, unless the number of
    parametrisations has changed.
    """
    records = before | now
    for test, new in now.items():
        old = before.get(test)
        partial = len(new.outcomes) < new.parametrisations
        if old and partial and old.parametrisations == new.parametrisations:
            provenance = new.provenance
            if old.outcomes and old.provenance.commit != provenance.commit:
                provenance = provenance._replace(commit=SEVERAL_COMMITS)
            records[test] = new._replace(
                provenance=provenance, outcomes=old.outcomes | new.outcomes
            )
    return records


def verdict(tests: Iterable[str], records: Records, holds: bool) -> str:
    """verified, does not hold, failed, or "3 of 7 ran".

    A claim is verified when all its tests ran and passed. The tests of a statement that does not
    hold are counterexamples: when all of them pass, it does not hold.
    """
    tests = list(tests)
    found = [records[test] for test in tests if test in records]
    if any(record.failed for record in found):
        return FAILED
    ran = sum(record.ran for record in found)
    if ran < len(tests) or not tests:
        return f"{ran} of {len(tests)} ran"
    return VERIFIED if holds else DOES_NOT_HOLD


def load(file: Path) -> Records:
    """The records of a cache file; none if it is missing or is not one of ours."""
    try:
        return from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def from_json(value: object) -> Records:
    """The records of what `to_json` made; none for anything else."""
    try:
        return {
            test: Record(Provenance(*provenance), int(count), dict(outcomes))
            for test, (provenance, count, outcomes) in dict(value).items()  # type: ignore[call-overload]
        }
    except (TypeError, ValueError):
        return {}


def to_json(records: Records) -> dict[str, list[object]]:
    """The records as lists, which JSON keeps."""
    return {test: [list(r.provenance), *r[1:]] for test, r in sorted(records.items())}
