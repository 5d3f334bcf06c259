"""`bptt-oracle compare`: two run files, result by result; or a run file and what an implementation
computes now."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..processes.interrupt import temporary
from ..processes.workers import limit_threads
from ..reports.console import AGREE, COULD_NOT_RUN, FAULT, print_verdict, write_output
from .exits import stop, stop_interrupted
from .options import LAST, MOST, Dtype, FailOnOption, Markdown, Quiet, workers_of
from .output_files import require_report_file, save_pieces
from .recording import record_with_progress

if TYPE_CHECKING:
    from ..runs.record import Plan
    from ..runs.run import Run


def compare(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A run file that record wrote.")],
    new: Annotated[
        Path | None, typer.Argument(metavar="NEW", help="The run file to compare with it.")
    ] = None,
    implementation: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:OBJECT",
            help="Instead of NEW: judge this implementation now, with the plan of OLD.",
        ),
    ] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW",
            help="Compare only these two names, of implementations or paths; may be repeated. "
            "Default: equal names, or the only name of each run.",
        ),
    ] = None,
    fail_on: FailOnOption = None,
    factor: Annotated[
        float, typer.Option(min=1, max=1e9, help="Drift is R that grew by more than this factor.")
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
    from ..runs.read_json import values_path

    if (new is None) == (implementation is None):
        stop("name either a run file NEW or an --implementation to compare with")
    taken = {realpath(file) for run in (old, new) if run for file in (run, values_path(run))}
    for file in filter(None, (json, junit, html)):
        if realpath(file) in taken:
            stop(f"{file} would be written over; name another file")
        taken.add(realpath(file))
        require_report_file(file)
    with _runs(old, new, implementation, pair or (), quiet) as (before, after, pairs):
        comparison = compare_all(before, after, factor, None if verbose else compare_tables.MOST)
        words = [word for word, number in comparison.total.items() if number]
        if not words:
            stop("neither run holds a result; record some --cases")
        status = COULD_NOT_RUN if "crash" in words else AGREE
        status = FAULT if is_failure(words, fail_on or ()) else status
        sentence = ", ".join(f"{a} → {b}" for a, b in pairs.items() if a != b)
        sentence = ": ".join(filter(None, (sentence, compare_tables.summary(comparison))))
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
                    status,
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
                write_output(compare_tables.markdown(before, after, comparison, largest, status))
            else:
                compare_tables.print_comparison(before, after, comparison, largest)
    if quiet or not markdown:
        print_verdict(sentence, status)
    raise typer.Exit(status)


@contextmanager
def _runs(
    old: Path, new: Path | None, implementation: str | None, given: Sequence[str], quiet: bool
) -> Iterator[tuple["Run", "Run", dict[str, str]]]:
    """The two runs, with only the results that are compared, and the pairs of names. Without `new`
    the implementation is recorded in a temporary file, which ends with the block."""
    from ..runs.opening import open_runs
    from ..runs.pairing import names_of, paired, pairs_of

    with ExitStack() as stack:
        if implementation is None:
            assert new is not None
            first, second = stack.enter_context(open_runs(old, new))
        else:
            (first,) = stack.enter_context(open_runs(old))
            folder = stack.enter_context(temporary(Path(tempfile.mkdtemp(prefix="bptt-oracle."))))
            _record_now(folder / "now", first, implementation, quiet)
            (second,) = stack.enter_context(open_runs(folder / "now"))
            if not given and implementation in names_of(first):
                given = [f"{implementation}={implementation}"]
        pairs = pairs_of(first, second, given)
        before, after = stack.enter_context(paired(first, second, pairs))
        yield before, after, pairs


def _record_now(file: Path, old: "Run", name: str, quiet: bool) -> None:
    """Record an implementation with the cases, seed and dtypes of another run."""
    from ..implementations.loading import load

    limit_threads()
    loaded = load(name)
    plan = _plan_of(old, name)
    try:
        record_with_progress(file, plan, [loaded], workers_of(0, []), quiet)
    except KeyboardInterrupt:
        stop_interrupted("nothing was compared")


def _plan_of(run: "Run", name: str) -> "Plan":
    """The plan of a run for an implementation. Stops if the run has a plan of another kind."""
    from ..runs.record import Plan

    facts: list[Any] = [run.plan.get(field) for field in ("cases", "seed", "dtypes")]
    cases, seed, dtypes = facts
    known = isinstance(dtypes, list) and all(dtype in list(Dtype) for dtype in dtypes)
    whole = type(cases) is int and type(seed) is int
    if "own cases" in run.plan or not (known and whole and 0 < cases <= MOST and 0 <= seed <= LAST):
        stop(f"{run.file} has no plan that this version can repeat; compare it with a run file")
    return Plan(cases, seed, dtypes, [name], [])
