"""Known deviations of PyTorch: data with a predicate, a range of versions, and a public thread.

A result that differs from the truth exactly as deviations.toml says is a known deviation: it is
reported, and it is not a fault. A deviation that is listed and no longer occurs is stale, and fails
the check, so that the list stays true. A deviation that no case can show names a demonstration, a
function that shows it.

    python -m bptt_oracle.judging.deviations        writes docs/judging/deviations.md anew
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from packaging.version import Version

from ..cases.case import Case, parse
from . import judge
from .deviation_entries import COMPARISONS, FILE, RANGE, BadDeviation, Deviation, load


def installed_torch() -> str:
    """The version of torch in this environment, without importing it; 0 if there is none."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return "0"


def in_range(deviation: Deviation, installed: str | None = None) -> bool:
    """Whether the deviation is expected of a version, of torch and by default the one installed.

    The build (+cpu) of the version is ignored.
    """
    public = Version((installed or installed_torch()).split("+")[0])
    bounds = (RANGE.fullmatch(bound) for bound in deviation.versions.split(","))
    return all(COMPARISONS[bound[1]](public, Version(bound[2])) for bound in bounds if bound)


def concerns(deviation: Deviation, facts: Mapping[str, Any]) -> bool:
    """Whether every comparison of `when` holds; False for a deviation without comparisons.

    An exception has the tensor "". Only a deviation that names it ("" or "*") concerns it, because
    one of wrong numbers explains no exception.
    """
    if not facts["tensor"] and "tensor" not in deviation.when:
        return False
    return bool(deviation.when) and all(
        _holds(facts[field], wanted) for field, wanted in deviation.when.items()
    )


def _holds(fact: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return all(COMPARISONS[sign](fact, other) for sign, other in wanted.items())
    if isinstance(wanted, list):
        return any(_holds(fact, one) for one in wanted)
    if isinstance(wanted, str) and "*" in wanted:
        return fnmatchcase(fact, wanted)
    return bool(fact == wanted)


@cache
def installed_deviations() -> tuple[Deviation, ...]:
    """The deviations expected of the installed torch."""
    return tuple(deviation for deviation in load() if in_range(deviation))


@cache
def deviations_in(file: Path, version: str) -> tuple[Deviation, ...]:
    """The deviations that a file of this package or of an adapter expects of a version, read once;
    all of them if the version is unknown. Raises OSError; BadDeviation for an invalid file."""
    return _expected_in(file, version, Case)


def _expected_in(file: Path, version: str, case: Any) -> tuple[Deviation, ...]:
    return tuple(d for d in load(file, case) if not version or in_range(d, version))


def own_deviations(
    file: Path, version: str, known: Sequence[Deviation], case: Any
) -> tuple[Deviation, ...]:
    """The deviations of a user's file that are expected of a version, with conditions on fields of
    `case`, a class of named tuples. Raises OSError; BadDeviation for an invalid file, and for an id
    that `known` has."""
    own = _expected_in(file, version, case)  # not cached: a user may change it
    if taken := {d.id for d in known} & {d.id for d in own}:
        raise BadDeviation(f"{file.name}: {min(taken)} is already listed; give it another id")
    return own


def known_ids(
    case: Any, path: str, dtype: str, tensor: str, known: Sequence[Deviation] | None = None
) -> list[str]:
    """The ids of the deviations that explain an error in one tensor of one result."""
    facts = case._asdict() | {"path": path, "dtype": dtype, "tensor": tensor}
    deviations = installed_deviations() if known is None else known
    return [d.id for d in deviations if concerns(d, facts)]


def mark_known(result: Any, case: Any, known: Sequence[Deviation] | None = None) -> Any:
    """The result with the verdict `known deviation` if known deviations explain every wrong tensor;
    otherwise with the worst tensor that none explains."""
    if result.verdict != "fault":
        return result
    ids: set[str] = set()
    wrong = {}
    for tensor, R in _wrong(result):
        by = known_ids(case, result.path, result.dtype, tensor, known)
        ids.update(by)
        if not by:
            wrong[tensor] = R
    if ids and not wrong:
        return result._replace(verdict="known deviation", note=", ".join(sorted(ids)))
    if not ids or result.tensor in wrong:
        return result
    worst = max(wrong, key=lambda tensor: wrong[tensor])
    return result._replace(tensor=worst, R=wrong[worst], place="")


def _wrong(result: Any) -> list[tuple[str, float]]:
    """The wrong tensors, and their R."""
    return [(tensor, R) for tensor, R in _measures(result) if R > judge.LIMIT]


def _measures(result: Any) -> Iterable[tuple[str, float]]:
    """R of every tensor; one R without a name if torch raised."""
    return result.tensors.items() or [("", result.R)]


class Tally(NamedTuple):
    """How often a deviation could have occurred, and did."""

    deviation: Deviation
    concerned: int
    met: int

    @property
    def stale(self) -> bool:
        """Whether it is listed, was looked for, and no longer occurs."""
        return self.concerned > 0 and self.met == 0


def tally(
    results: Iterable[Any],
    known: Sequence[Deviation] | None = None,
    demonstrate: Callable[[str], bool | None] | None = None,
    parse: Callable[[str], Any] = parse,
) -> list[Tally]:
    """How often each deviation could have occurred in the results of a check, and did.

    `demonstrate` runs a demonstration by name: True if the deviation occurs, None if this build of
    torch lacks what it needs. Without it demonstrations are not counted. `parse` returns the case
    of an identifier.
    """
    known = installed_deviations() if known is None else known
    counts = {d.id: [0, 0] for d in known}
    with_predicate = [d for d in known if d.when]
    for result in results:
        if not with_predicate or result.verdict == "excluded":
            continue
        facts = parse(result.case)._asdict() | {"path": result.path, "dtype": result.dtype}
        measures = {"": 0.0, **dict(_measures(result))}  # it did not raise, or did
        for tensor, R in measures.items():
            facts["tensor"] = tensor
            for d in with_predicate:
                if concerns(d, facts):
                    counts[d.id][0] += 1
                    counts[d.id][1] += R > judge.LIMIT
    for d in known:
        if d.demonstrates and demonstrate is not None:
            occurs = demonstrate(d.demonstrates)
            counts[d.id] = [int(occurs is not None), int(occurs or False)]
    return [Tally(d, *counts[d.id]) for d in known]


def page(deviations: Sequence[Deviation]) -> str:
    """The list as a Markdown page."""
    head = ("deviation", "symptom", "thread", "torch", "shown by")
    lines = [head, ["---"] * len(head), *map(_row, deviations)]
    return "\n".join([_PROLOGUE, *(f"| {' | '.join(line)} |" for line in lines)]) + "\n"


def _row(d: Deviation) -> tuple[str, ...]:
    found = re.fullmatch(r"https://github\.com/(.+)/issues/(\d+)", d.issue)
    thread = f"[{found[1]}#{found[2]}]({d.issue})" if found else d.issue
    return d.id, d.symptom, thread, f"`{d.versions}`", d.demonstrates or "cases"


_PROLOGUE = """\
# Known deviations of PyTorch

Generated by `python -m bptt_oracle.judging.deviations` from
[deviations.toml](../../bptt_oracle/judging/deviations.toml).

A deviation is behaviour of PyTorch that contradicts its documentation or common sense. If a result
of `bptt-oracle check` deviates as listed here, the check reports a known deviation instead of a
fault. An entry whose deviation no longer happens in a version of its range is stale, and the check
exits with status 1, so that the list stays true. The last column names what shows the deviation:
"cases" are cases of the corpus, mostly called with one invalid argument that torch must reject;
other entries name a function of
[demonstrations.py](../../bptt_oracle/implementations/demonstrations.py) or, for the
[roads](../roads/roads.md), of
[demonstrations_of_roads.py](../../bptt_oracle/implementations/demonstrations_of_roads.py), which
runs only with `check --path roads`. The column "torch" is the
range of versions that show the deviation; a range without an upper end means that no version has
fixed it yet.
"""

if __name__ == "__main__":
    FILE.parents[2].joinpath("docs", "judging", "deviations.md").write_text(
        page(load()), encoding="utf-8"
    )
