"""`bptt-oracle faults`: plant known bugs and count those that the judge detects."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ..cases.case import Case
from ..processes.interrupt import terminate_on_interrupt
from ..processes.workers import limit_threads, run_isolated
from ..reports.console import AGREE, FAULT, new_console, print_verdict, progress_bar
from .exits import stop
from .options import Cases, Quiet, Seed
from .output_files import require_report_file, save

if TYPE_CHECKING:
    from ..runs.control import Detection


def faults(
    fault: Annotated[
        list[str] | None, typer.Option(help="Fault to plant; may be repeated. Default: all.")
    ] = None,
    cases: Cases = 64,
    seed: Seed = 0,
    implementation: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:OBJECT", help="Plant mistakes in the answers of this implementation."
        ),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the matrix to this file as Markdown.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Plant bugs that recurrent nets have had, and others of the same kinds.

    Exit status: 0 all are detected, 1 one survives, 2 could not run.
    """
    with terminate_on_interrupt():
        from ..cases.corpus import corpus
        from ..faults import FAULTS
        from ..faults.detect import PreparedCases, detect_all
        from ..faults.kill_matrix import markdown as as_page
        from ..faults.kill_matrix import print_matrix, summary

    if implementation:
        if fault or markdown:
            stop("--implementation plants other mistakes; leave --fault and --markdown out")
        _plant_in_answers(implementation, cases, seed, quiet)
    for name in fault or ():
        if name not in FAULTS:
            stop(f"there is no fault {name!r}; the page docs/faults/faults.md lists them")
    require_report_file(markdown)
    limit_threads()
    chosen = list(dict.fromkeys(fault or FAULTS))
    total = sum(len(FAULTS[n].cells) * len(FAULTS[n].dtypes) for n in chosen)
    with progress_bar(quiet) as progress:
        finished = detect_all(PreparedCases(corpus(cases, seed)), chosen)
        detections = list(progress.track(finished, total, description="faults planted"))
    status = FAULT if any(detection.survived for detection in detections) else AGREE
    if not quiet:
        print_matrix(new_console(), detections)
    print_verdict(summary(detections), status)
    if markdown is not None:
        save(markdown, as_page(detections, f"bptt-oracle faults --markdown {markdown}"))
    raise typer.Exit(status)


def _plant_in_answers(name: str, cases: int, seed: int, quiet: bool) -> NoReturn:
    """`faults --implementation`: exit 0 if all mistakes are detected, 1 if one survives, 2 if none
    could be planted, because no answer agrees."""
    from ..implementations.growing import growing_cases
    from ..implementations.loading import load
    from ..reports.implementation_report import fault_summary, print_fault_matrix

    limit_threads()
    implementation = load(name)
    chosen = growing_cases(implementation, cases, seed)
    dtypes = [d for d in ("float32", "float64") if d in implementation.dtypes]
    detections = []
    with progress_bar(quiet) as progress:
        for dtype in progress.track(dtypes, description="dtypes"):
            detections += run_isolated(partial(_detect, name=name, dtype=dtype), chosen)
    planted = [d for d in detections if d.planted]
    status = FAULT if any(not d.detected for d in planted) else AGREE
    if not planted:
        stop(f"no answer of {name} agrees, so that no mistake could be planted; run check first")
    if not quiet:
        print_fault_matrix(new_console(), detections)
    print_verdict(fault_summary(name, detections), status)
    raise typer.Exit(status)


def _detect(cases: list[Case], name: str, dtype: str) -> "list[Detection]":
    from ..implementations.loading import load
    from ..runs.control import detect_answer_faults

    return detect_answer_faults(load(name), cases, dtype)
