"""`bptt-oracle selftest`: judge the judge."""

import os
from typing import Annotated

import typer

from ..processes.interrupt import terminate_on_interrupt
from ..processes.workers import worker_context
from ..reports.console import AGREE, COULD_NOT_RUN, FAULT, new_console, print_verdict, progress_bar
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

    Exit 0 both hold, 1 one does not, 2 a case crashed or memory ran out.
    """
    if workers != 1:
        worker_context()
    with terminate_on_interrupt():
        from ..reports.verdicts import selftest_verdict
        from ..runs.selftest import print_summary
        from ..runs.selftest import selftest as run_selftest

    with progress_bar(quiet) as progress:
        summary = run_selftest(comparisons, seed, workers or os.cpu_count() or 1, progress)
    passed = print_summary(new_console(quiet=quiet), summary)
    status = AGREE if passed else FAULT
    if passed and (summary.unfinished or not summary.ratios):
        status = COULD_NOT_RUN
    print_verdict(selftest_verdict(summary, passed), status)
    raise typer.Exit(status)
