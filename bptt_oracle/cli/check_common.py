"""What `check` of torch, of its optimisers and of an implementation have in common."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..cases.case import Case
from ..reports.console import print_verdict
from .exits import stop
from .output_files import write_reports

if TYPE_CHECKING:
    from ..judging.deviation_entries import Deviation
    from ..reports.check_report import CheckReport


class Reports(NamedTuple):
    """What is written, which deviations are added, and whether a stale one fails."""

    json: Path | None
    junit: Path | None
    markdown: bool
    deviations: Path | None
    stale_fails: bool


class Options(NamedTuple):
    """Those of `check`."""

    dtypes: Sequence[str] | None
    cases: int
    seed: int
    own: Sequence[Case]  # instead of those that are drawn or grow
    max_faults: int
    reports: Reports
    workers: int
    quiet: bool
    verbose: bool


def require_demonstrations(known: "Sequence[Deviation]", check: Callable[[str], None]) -> None:
    """Stop if a deviation names a function that `check` rejects with ValueError."""
    try:
        for deviation in known:
            if deviation.demonstrates:
                check(deviation.demonstrates)
    except ValueError as error:
        stop(str(error))


def with_own_deviations(
    known: "Sequence[Deviation]", file: Path | None, version: str, case: Any = Case
) -> "tuple[Deviation, ...]":
    """The known deviations, and those of the user's file if there is one, with conditions on fields
    of `case`, a class of named tuples. Stops if that is invalid."""
    from ..judging.deviations import own_deviations

    if file is None:
        return tuple(known)
    try:
        return *known, *own_deviations(file, version, known, case)
    except OSError as error:
        stop(f"{file} cannot be read: {error.strerror}; name a file that exists")
    except ValueError as error:
        stop(str(error))


def report_verdict(report: "CheckReport", reports: Reports, quiet: bool) -> None:
    """Write the reports, and print the verdict unless Markdown on the screen states it."""
    write_reports(report, reports.json, reports.junit, reports.markdown and not quiet)
    if quiet or not reports.markdown:
        print_verdict(report.verdict, report.status)
