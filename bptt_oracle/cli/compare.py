"""`bptt-oracle compare`: two run files, result by result."""

from collections.abc import Callable
from os.path import realpath
from pathlib import Path
from typing import Annotated

import typer

from ..reports.console import AGREE, COULD_NOT_RUN, FAULT, print_verdict, write_output
from .exits import stop
from .options import FailOn, Markdown, Quiet
from .output_files import require_report_file, save


def compare(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A run file that record wrote.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The run file to compare with it.")],
    fail_on: Annotated[
        FailOn, typer.Option(help="Exit 1 only for faults, or for drift as well.")
    ] = FailOn.fault,
    factor: Annotated[
        float, typer.Option(min=1, help="Drift is R that grew by more than this factor.")
    ] = 4.0,
    markdown: Markdown = False,
    json: Annotated[Path | None, typer.Option(help="Write everything as JSON.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page for a browser.")] = None,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="List every fault, drift and fix, not only ten.")
    ] = False,
) -> None:
    """Report what changed between two runs, and which one is closer to the truth.

    Exit 0 no fault in the new run, 1 a fault, 2 could not compare, or the new run has a crash.
    """
    from ..reports import compare_tables
    from ..reports.html import html as to_html
    from ..reports.junit import junit as to_junit
    from ..runs.compare import compare as compare_all
    from ..runs.compare import comparison_to_dict, has_crash, is_failure, relative_differences
    from ..runs.files import to_json
    from ..runs.run_file import BadRun, read, read_values, values_path

    taken = {realpath(file) for run in (old, new) for file in (run, values_path(run))}
    for file in filter(None, (json, junit, html)):
        if realpath(file) in taken:
            stop(f"{file} would be written over; name another file")
        taken.add(realpath(file))
        require_report_file(file)
    try:
        runs = [read(file) for file in (old, new)]
        values = [read_values(file, run) for file, run in zip((old, new), runs, strict=True)]
    except BadRun as error:
        stop(str(error))
    before, after = runs
    changes = compare_all(before, after, factor)
    if not changes:
        stop("neither run holds a result; record some --cases")
    differences = relative_differences(after, *values)
    status = COULD_NOT_RUN if has_crash(changes) else AGREE
    status = FAULT if is_failure(changes, fail_on.value) else status

    def as_text() -> str:
        return to_json(comparison_to_dict(before, after, changes, differences))

    reports: list[tuple[Path | None, Callable[[], str]]] = [
        (json, as_text),
        (junit, lambda: to_junit(changes, fail_on.value)),
        (html, lambda: to_html(before, after, changes)),
    ]
    for report_file, text in reports:
        if report_file is not None:
            save(report_file, text())
    most = len(changes) if verbose else compare_tables.MOST
    if quiet:
        print_verdict(compare_tables.summary(before, after, changes), status)
    elif markdown:
        write_output(compare_tables.markdown(before, after, changes, differences, most))
    else:
        compare_tables.print_comparison(before, after, changes, differences, most)
        print_verdict(compare_tables.summary(before, after, changes), status)
    raise typer.Exit(status)
