"""`bptt-oracle faults`: plant known bugs and count those that the judge detects."""

from pathlib import Path
from typing import Annotated

import typer

from ..processes.interrupt import terminate_on_interrupt
from ..processes.workers import limit_threads
from ..reports.console import AGREE, FAULT, new_console, print_verdict, progress_bar
from .exits import stop
from .options import Cases, Quiet, Seed
from .output_files import require_report_file, save


def faults(
    fault: Annotated[
        list[str] | None, typer.Option(help="Fault to plant; may be repeated. Default: all.")
    ] = None,
    cases: Cases = 64,
    seed: Seed = 0,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the matrix to this file as Markdown.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Plant bugs that recurrent nets have had; exit 0 all detected, 1 one survives."""
    with terminate_on_interrupt():
        from ..cases.corpus import corpus
        from ..faults import FAULTS
        from ..faults.detect import PreparedCases, detect_all
        from ..faults.kill_matrix import markdown as as_page
        from ..faults.kill_matrix import print_matrix, summary

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
    if quiet:
        print_verdict(summary(detections), status)
    else:
        print_matrix(new_console(), detections)
    if markdown is not None:
        save(markdown, as_page(detections, f"bptt-oracle faults --markdown {markdown}"))
    raise typer.Exit(status)
