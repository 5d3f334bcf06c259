"""`bptt-oracle check`: judge this torch on the corpus."""

import time
from pathlib import Path
from typing import Annotated

import typer

from ..processes.interrupt import terminate_on_interrupt
from ..processes.workers import limit_threads, worker_context
from ..reports.console import AGREE, COULD_NOT_RUN, FAULT, new_console, progress_with_stages
from .check_common import (
    Options,
    Reports,
    report_verdict,
    require_demonstrations,
    with_own_deviations,
)
from .check_implementation import check_implementations
from .check_optimizers import check_optimizers, names_optimizers
from .exits import stop
from .options import (
    Cases,
    CasesFile,
    Device,
    DeviceOption,
    Dtypes,
    Implementations,
    Markdown,
    OwnCases,
    Paths,
    Quiet,
    Seed,
    Stale,
    Workers,
    dtypes_of,
    own_cases_of,
    paths_of,
    warn_of_large,
    workers_of,
)
from .output_files import require_report_files


def check(
    context: typer.Context,
    device: DeviceOption = Device.auto,
    dtype: Dtypes = None,
    path: Paths = None,
    cases: Cases = 200,
    seed: Seed = 0,
    case: OwnCases = None,
    cases_file: CasesFile = None,
    json: Annotated[Path | None, typer.Option(help="Also write all results to this file.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML.")] = None,
    markdown: Markdown = False,
    workers: Workers = 0,
    deviations: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML of your own known deviations, besides the list."),
    ] = None,
    stale: Annotated[
        Stale, typer.Option(help="Exit 1 for a listed deviation that no longer occurs, or not.")
    ] = Stale.fail,
    list_deviations: Annotated[
        bool, typer.Option("--list-deviations", help="Print the known deviations of this torch.")
    ] = False,
    implementation: Implementations = None,
    max_faults: Annotated[
        int, typer.Option(min=0, help="Stop an --implementation after so many faults; 0: never.")
    ] = 20,
    quiet: Quiet = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Print the whole environment, and the worst case of every row."
        ),
    ] = False,
) -> None:
    """Judge this torch, or an implementation, against the derivations.

    The last line is the verdict. Exit status: 0 agree, 1 a fault or a listed
    deviation that no longer occurs, 2 could not run, or a case crashed.
    """
    own = own_cases_of(context, case, cases_file)
    warn_of_large(own, dtypes_of(dtype))
    reports = Reports(json, junit, markdown, deviations, stale is Stale.fail)
    processes = workers_of(workers, [])
    if implementation:
        if path or device is not Device.auto:
            stop("--implementation replaces --path and --device; leave them out")
        chosen_dtypes = dtypes_of(dtype) if dtype else None
        options = Options(
            chosen_dtypes, cases, seed, own, max_faults, reports, processes, quiet, verbose
        )
        check_implementations(list(dict.fromkeys(implementation)), options)
    if path and names_optimizers(path):
        if device not in (Device.auto, Device.cpu):
            stop(f"optimizers are judged on the CPU, not on --device {device.value}")
        if own:
            stop("--case and --cases-file describe nets, and optimizers have cases of their own")
        options = Options(
            dtypes_of(dtype), cases, seed, own, max_faults, reports, processes, quiet, verbose
        )
        check_optimizers(path, options, list_deviations)
    if workers != 1:
        worker_context()  # it imports torch while this process does
    with terminate_on_interrupt():
        import torch

        from torch_impl.execution.path import WrongKernel
        from torch_impl.roads.catalogue import ROADS

        from ..cases.case import parse
        from ..cases.corpus import cases_for
        from ..implementations.demonstrations import check_demonstration, demonstrate, runs_with
        from ..judging.deviations import (
            installed_deviations,
            installed_torch,
            mark_known,
            tally,
        )
        from ..judging.offsets import collect_offsets
        from ..reports.check_report import CheckReport
        from ..reports.check_tables import (
            print_deviations,
            print_diagnosis,
            print_environment,
            print_offsets,
            print_results,
        )
        from ..reports.verdicts import (
            MISSING,
            NOT_FINISHED,
            UNTRUSTED,
            check_verdict,
            numbers_judged,
        )
        from ..runs.checking import check as run_all
        from ..runs.checking import no_case_message
        from ..runs.environment import environment
        from ..runs.results import UNFINISHED, Result
        from ..runs.study import diagnose_results_of

    chosen, skipped = paths_of(device, path)
    require_report_files(json, junit)
    known = with_own_deviations(installed_deviations(), deviations, installed_torch())
    require_demonstrations(known, check_demonstration)
    dtypes = dtypes_of(dtype)
    workers = workers_of(workers, chosen)
    limit_threads()
    console, header = new_console(quiet=quiet or markdown), environment()
    results: list[Result] = []
    print_environment(console, header, verbose)
    start = time.perf_counter()
    try:
        with progress_with_stages(quiet, bool(own)) as (progress, stages):
            todo = own or cases_for(cases, seed, chosen)
            finished = run_all(todo, dtypes, chosen, workers, stages)
            for some in progress.track(finished, len(todo), description="cases checked"):
                results.extend(mark_known(r, parse(r.case), known) for r in some)
    except WrongKernel as error:
        stop(str(error))
    results.sort(key=lambda r: (r.case, r.path, r.dtype))
    # A rejected call is not a number that was compared.
    if all(r.verdict == "excluded" for r in results if r.path != "cpu-invalid-calls"):
        stop(no_case_message(chosen, dtypes, own))
    print_results(console, results, skipped, time.perf_counter() - start, verbose)
    roads = [name for name in chosen if name in ROADS]

    def demonstrate_if_chosen(name: str) -> bool | None:
        return demonstrate(name) if runs_with(name, roads) else None

    finished_results = [r for r in results if r.verdict not in UNFINISHED]
    on_cpu = any(name.startswith("cpu") for name in chosen)
    tallies = tally(finished_results, known, demonstrate_if_chosen) if on_cpu else []
    files = {d.id: str(deviations) for d in known if d not in installed_deviations()}
    print_deviations(console, tallies, list_deviations, files)
    offsets = [offset for offset in collect_offsets(results) if offset.is_systematic]
    print_offsets(console, offsets)
    if wrong := [r for r in results if r.verdict == "fault" and r.path in chosen]:
        print_diagnosis(console, diagnose_results_of(wrong))
    # Excluded paths have results as well, so that every one must be there.
    missing = len(todo) * len(dtypes) * len(chosen) - sum(r.path in chosen for r in results)
    status = AGREE
    is_stale = reports.stale_fails and any(t.stale for t in tallies)
    if offsets or any(r.verdict == "fault" for r in results) or is_stale:
        status = FAULT
    elif missing or not numbers_judged(results) or any(r.verdict in UNFINISHED for r in results):
        status = COULD_NOT_RUN
    sentence = check_verdict(torch.__version__, results, tallies, offsets, missing)
    plan = {"cases": len(todo), "seed": seed, "dtypes": dtypes, "paths": chosen}
    report = CheckReport(
        f"torch {torch.__version__}",
        sentence,
        status,
        plan | {"own cases": [one.id for one in own]} if own else plan,
        header,
        results,
        tallies,
        offsets,
        reports.stale_fails,
    )
    report_verdict(report, reports, quiet)
    if status == COULD_NOT_RUN:
        lost = NOT_FINISHED if any(r.verdict in UNFINISHED for r in results) else UNTRUSTED
        stop(MISSING if missing else lost)
    raise typer.Exit(status)
