"""`bptt-oracle compare`: two run files, result by result."""

from collections.abc import Callable, Iterable
from os.path import realpath
from pathlib import Path
from typing import Annotated

import typer

from ..reports.console import AGREE, COULD_NOT_RUN, FAULT, print_verdict, write_output
from .exits import stop
from .options import FailOnOption, Markdown, Quiet
from .output_files import require_report_file, save_pieces


def compare(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A run file that record wrote.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The run file to compare with it.")],
    fail_on: FailOnOption = None,
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
    from ..reports.comparison_json import comparison_to_json
    from ..reports.html import html as to_html
    from ..reports.junit import junit as to_junit
    from ..runs.compare import changes, is_failure
    from ..runs.compare import compare as compare_all
    from ..runs.kept import relative_differences
    from ..runs.opening import open_runs
    from ..runs.read_json import values_path

    taken = {realpath(file) for run in (old, new) for file in (run, values_path(run))}
    for file in filter(None, (json, junit, html)):
        if realpath(file) in taken:
            stop(f"{file} would be written over; name another file")
        taken.add(realpath(file))
        require_report_file(file)
    with open_runs(old, new) as (before, after):
        comparison = compare_all(before, after, factor, None if verbose else compare_tables.MOST)
        words = [word for word, number in comparison.total.items() if number]
        if not words:
            stop("neither run holds a result; record some --cases")
        status = COULD_NOT_RUN if "crash" in words else AGREE
        status = FAULT if is_failure(words, fail_on or ()) else status
        sentence = compare_tables.summary(comparison)
        reports: list[tuple[Path | None, Callable[[], Iterable[str]]]] = [
            (
                json,
                lambda: comparison_to_json(
                    before,
                    after,
                    comparison,
                    relative_differences(before, after),
                    changes(before, after, factor, without=("equal",)),
                    sentence,
                ),
            ),
            (junit, lambda: to_junit(comparison, changes(before, after, factor), fail_on or ())),
            (html, lambda: [to_html(before, after, comparison, changes(before, after, factor))]),
        ]
        for report_file, pieces in reports:
            if report_file is not None:
                save_pieces(report_file, pieces())
        if not quiet:
            largest = compare_tables.largest_differences(relative_differences(before, after))
            if markdown:
                write_output(compare_tables.markdown(before, after, comparison, largest))
            else:
                compare_tables.print_comparison(before, after, comparison, largest)
    if quiet or not markdown:
        print_verdict(sentence, status)
    raise typer.Exit(status)
