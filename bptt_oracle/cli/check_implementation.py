"""`bptt-oracle check --implementation`: judge implementations of others on cases that grow."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

import typer

from ..cases.case import Case
from ..processes.failures import Crash
from ..processes.interrupt import terminate_on_interrupt
from ..processes.workers import limit_threads, run_isolated
from ..reports.console import new_console, print_verdict, progress_bar
from .exits import stop
from .output_files import require_report_file, save

OPTION = "--implementation"


class Options(NamedTuple):
    """Those of `check`."""

    dtypes: Sequence[str] | None
    cases: int
    seed: int
    own: Sequence[Case]  # instead of those that grow
    max_faults: int
    json: Path | None
    workers: int
    quiet: bool
    verbose: bool


def check_implementations(names: Sequence[str], options: Options) -> NoReturn:
    """Judge each implementation. The exit status is the worst of all: 2 before 1 before 0."""
    if options.json is not None and len(names) > 1:
        stop("--json holds the results of one --implementation; judge them one by one")
    raise typer.Exit(max([_check_one(name, options) for name in names]))


def _check_one(name: str, options: Options) -> int:
    dtypes, count, seed, own, max_faults, json, workers, quiet, verbose = options
    with terminate_on_interrupt():
        from ..implementations.fitting import fit
        from ..implementations.growing import growing_cases
        from ..implementations.loading import load
        from ..judging.deviations import tally
        from ..judging.offsets import collect_offsets
        from ..reports.check_tables import print_environment, print_offsets, print_results
        from ..reports.implementation_report import (
            count_run,
            print_study,
            report,
            status_of,
            verdict_on,
        )
        from ..runs.environment import environment
        from ..runs.examine import UNFINISHED, check, deviations_of
        from ..runs.study import study

    require_report_file(json)
    limit_threads()
    implementation = load(name)
    chosen = [d for d in dtypes or ("float32", "float64") if d in implementation.dtypes]
    if not chosen:
        wanted, has = ", ".join(dtypes or ()), ", ".join(implementation.dtypes)
        stop(f"{name} has no {wanted}; it has {has}")
    for case in own:
        fitted = fit(implementation, case)
        if implementation.exclusion_reason is None and fitted != case:
            nearest = f"; it can compute {fitted.id}" if fitted is not None else ""
            stop(f"{name} lacks an option of {case.id}{nearest}")
    cases = list(own) or growing_cases(implementation, count, seed)
    count = len(own) or count
    console, header, results = new_console(quiet=quiet), environment(implementation), []
    print_environment(console, header, verbose)
    start, faults = time.perf_counter(), 0
    with progress_bar(quiet) as progress:
        finished = check(cases, chosen, [name], workers)
        for some in progress.track(finished, len(cases), description="cases checked"):
            results.extend(some)
            faults += sum(r.verdict == "fault" for r in some)
            if max_faults and faults >= max_faults:
                break
    finished.close()
    stopped = len({r.case for r in results}) < len(cases)
    order = {case.id: number for number, case in enumerate(cases)}
    results.sort(key=lambda r: (order[r.case], r.dtype))
    print_results(console, results, {}, time.perf_counter() - start, verbose, OPTION)
    known = deviations_of(implementation)
    tallies = tally((r for r in results if r.verdict not in UNFINISHED), known)
    offsets = [offset for offset in collect_offsets(results) if offset.is_systematic]
    print_offsets(console, offsets)
    try:
        studied = run_isolated(partial(study, name=name), results)
    except Crash as crash:
        stop(f"{name} ended its process again while its results were studied: {crash}")
    counts = count_run(results, len(cases), count, stopped, studied.control)
    print_study(console, counts, studied, tallies, known)
    if json is not None:
        save(json, report(header, results, counts, studied, tallies))
    status = status_of(results, counts, studied, tallies, offsets)
    print_verdict(verdict_on(implementation, results, counts, studied, tallies, offsets), status)
    return status
