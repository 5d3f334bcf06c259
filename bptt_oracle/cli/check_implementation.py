"""`bptt-oracle check --implementation`: judge implementations of others on cases that grow."""

import time
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

import typer

from ..processes.failures import Crash
from ..processes.interrupt import terminate_on_interrupt
from ..processes.workers import limit_threads, run_isolated
from ..reports.console import new_console, progress_with_stages
from .check_common import Options, report_verdict, with_own_deviations
from .exits import stop
from .output_files import require_report_files

OPTION = "--implementation"


def check_implementations(names: Sequence[str], options: Options) -> NoReturn:
    """Judge each implementation. The exit status is the worst of all: 2 before 1 before 0."""
    for option in ("json", "junit"):
        if getattr(options.reports, option) is not None and len(names) > 1:
            stop(f"--{option} holds the results of one --implementation; judge them one by one")
    raise typer.Exit(max([_check_one(name, options) for name in names]))


def _check_one(name: str, options: Options) -> int:
    dtypes, count, seed, own, max_faults, reports, workers, quiet, verbose = options
    with terminate_on_interrupt():
        from ..implementations.fitting import fit, lacking_in
        from ..implementations.growing import growing_cases
        from ..implementations.loading import load
        from ..judging.deviations import mark_known, tally
        from ..judging.offsets import collect_offsets
        from ..reports.check_report import CheckReport
        from ..reports.check_tables import print_environment, print_offsets, print_results
        from ..reports.implementation_report import (
            count_run,
            facts_of,
            print_study,
            status_of,
            verdict_on,
        )
        from ..runs.checking import check
        from ..runs.environment import environment
        from ..runs.examine import deviations_of
        from ..runs.results import UNFINISHED
        from ..runs.study import study

    require_report_files(reports.json, reports.junit)
    limit_threads()
    implementation = load(name)
    known = deviations_of(implementation)
    known = with_own_deviations(known, reports.deviations, implementation.version())
    chosen = [d for d in dtypes or implementation.usual_dtypes() if d in implementation.dtypes]
    if dtypes and not chosen:
        stop(f"{name} has no {', '.join(dtypes)}; it has {', '.join(implementation.dtypes)}")
    for case in own:
        fitted = fit(implementation, case)
        if implementation.exclusion_reason is None and fitted != case:
            nearest = f"; it can compute {fitted.id}" if fitted is not None else ""
            stop(f"{name} cannot compute {case.id}: {lacking_in(implementation, case)}{nearest}")
    cases = list(own) or growing_cases(implementation, count, seed)
    count = len(own) or count
    is_quiet = quiet or reports.markdown
    console, header, results = new_console(quiet=is_quiet), environment(implementation), []
    print_environment(console, header, verbose)
    case_by_id = {case.id: case for case in cases}
    start, faults, stopped = time.perf_counter(), 0, False
    with progress_with_stages(quiet, bool(own)) as (progress, stages):
        finished = check(cases, chosen, [name], workers, stages)
        for some in progress.track(finished, len(cases), description="cases checked"):
            some = [mark_known(r, case_by_id[r.case], known) for r in some]
            results.extend(some)
            faults += sum(r.verdict == "fault" for r in some)
            if max_faults and faults >= max_faults:
                stopped = len({r.case for r in results}) < len(cases)
                break
    finished.close()
    order = {case.id: number for number, case in enumerate(cases)}
    results.sort(key=lambda r: (order[r.case], r.dtype))
    print_results(console, results, {}, time.perf_counter() - start, verbose, OPTION)
    tallies = tally((r for r in results if r.verdict not in UNFINISHED), known)
    offsets = [offset for offset in collect_offsets(results) if offset.is_systematic]
    print_offsets(console, offsets)
    try:
        studied = run_isolated(partial(study, name=name), results)
    except Crash as crash:
        stop(f"{name} ended its process again while its results were studied: {crash}")
    counts = count_run(results, len(cases), count, stopped, studied.control, len(chosen))
    print_study(console, counts, studied, tallies, known)
    status = status_of(results, counts, studied, tallies, offsets, reports.stale_fails)
    sentence = verdict_on(implementation, results, counts, studied, tallies, offsets)
    plan = {"cases": len(cases), "seed": seed, "dtypes": chosen, "implementation": name}
    plan |= {"own cases": [case.id for case in own]} if own else {}
    report = CheckReport(
        f"{implementation.name} {implementation.version()}".strip(),
        sentence,
        status,
        plan,
        header,
        results,
        tallies,
        offsets,
        reports.stale_fails,
        facts_of(counts, studied),
    )
    report_verdict(report, reports, quiet)
    return status
