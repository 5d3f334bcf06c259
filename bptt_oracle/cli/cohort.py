"""`bptt-oracle cohort`: do equal devices compute equal bits?"""

from pathlib import Path
from typing import Annotated

import typer

from ..reports.console import COULD_NOT_RUN, print_verdict, write_output
from .exits import stop
from .options import Quiet

MOST = 20  # lines of each kind


def cohort(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN…",
            help="Files with lines of `preflight`, or runs that several workers recorded.",
        ),
    ],
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="List every device, not only twenty of a kind.")
    ] = False,
) -> None:
    """Compare the devices of a fleet bit by bit, and name the odd one out.

    Devices of one model, driver, CUDA, cuDNN and torch are a cohort, whose majority decides; and so
    are workers that recorded the same plan. Exit 0 every device agrees, 1 a device differs or is
    wrong, 2 a device could not be compared.
    """
    from ..fleet.cohort import compare, read_records, status_of
    from ..fleet.run_cohort import compare_runs, runs_among
    from ..reports.cohort_report import report
    from ..reports.cohort_report import verdict as verdict_of

    named: dict[Path, Path] = {}
    for file in runs:
        if not file.is_file():
            stop(f"{file} is not a file")
        place = file.resolve()
        if place in named:
            stop(f"{named[place]} and {file} are one file, which would vote twice; name it once")
        named[place] = file
    recorded = runs_among(runs)
    fleet = compare(*read_records(file for file in runs if file not in recorded))
    fleet = fleet._replace(groups=fleet.groups + compare_runs(recorded))
    if not quiet:
        write_output(report(fleet, None if verbose else MOST))
    status = status_of(fleet)
    print_verdict(verdict_of(fleet), status)
    if status == COULD_NOT_RUN:
        stop(
            "a device or a line could not be compared; "
            + ("without --quiet it is listed" if quiet else "it is listed above")
        )
    raise typer.Exit(status)
