"""`bptt-oracle selftest`: judge the judge."""

import os
from typing import Annotated

import typer

from ..reports.console import AGREE, FAULT, new_console, print_verdict, progress_bar
from ..runs.interrupt import ctrl_c_ends_all
from ..runs.workers import processes
from .options import MOST, Quiet, Seed, Workers


def selftest(
    comparisons: Annotated[
        int,
        typer.Option(min=1000, max=8 * MOST, help="Number of tensors to compare."),
    ] = 20_000,
    seed: Seed = 0,
    workers: Workers = 0,
    quiet: Quiet = False,
) -> None:
    """Judge the judge: no false alarm, and every planted mistake detected.

    Exit 0 both hold, 1 one does not.
    """
    if workers != 1:
        processes()
    with ctrl_c_ends_all():
        from ..reports.verdicts import selftest_verdict
        from ..runs.selftest import print_outcome
        from ..runs.selftest import selftest as run_selftest

    with progress_bar(quiet) as progress:
        outcome = run_selftest(comparisons, seed, workers or os.cpu_count() or 1, progress)
    passed = print_outcome(new_console(quiet=quiet), outcome)
    status = AGREE if passed else FAULT
    print_verdict(selftest_verdict(outcome, passed), status)
    raise typer.Exit(status)
