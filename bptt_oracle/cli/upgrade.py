"""The commands for who upgrades: record a run, compare two, and both over versions of torch."""

import sys
from collections.abc import Callable
from enum import StrEnum
from os.path import realpath
from pathlib import Path
from typing import Annotated

import typer

from ..reports.console import AGREE, FAULT, plural, progress_bar, say, show
from ..runs.interrupt import ctrl_c_ends_all
from ..runs.workers import one_thread, processes
from .options import (
    Cases,
    Device,
    Dtypes,
    Paths,
    Seed,
    Where,
    Workers,
    dtypes_of,
    page,
    paths_of,
    refuse,
    save,
    workers_of,
    writable,
)


class FailOn(StrEnum):
    """What a comparison fails for; drift includes faults."""

    fault = "fault"
    drift = "drift"


def record(
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
    device: Where = Device.auto,
    dtype: Dtypes = None,
    path: Paths = None,
    cases: Cases = 200,
    seed: Seed = 0,
    values: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Keep this case's tensors, too.")
    ] = None,
    workers: Workers = 0,
) -> None:
    """Write down what this torch computes: R and the exact bits of every tensor.

    A run that was stopped goes on where it was, by the same command. Exit 0 written, 2 not.
    """
    if workers != 1:
        processes()  # it imports torch while this one does
    with ctrl_c_ends_all():
        from torch_impl.execution.backend import WrongKernel

        from ..cases.case import parse
        from ..runs.environment import environment
        from ..runs.record import Plan
        from ..runs.record import record as run_all
        from ..runs.run_file import is_run

    writable(output)
    try:
        known = not output.exists() or is_run(output)
    except OSError as error:
        refuse(f"{output} cannot be read: {error.strerror}; name another file")
    if not known:
        refuse(f"{output} is no run, and stays as it is; name another file")
    try:
        kept = [parse(name).id for name in values or ()]
    except ValueError as error:
        refuse(str(error))
    chosen, _ = paths_of(device, path)
    plan = Plan(cases, seed, dtypes_of(dtype), chosen, kept)
    one_thread()
    try:
        with progress_bar() as progress:
            task = progress.add_task("cases")

            def tell(done: int, of: int) -> None:
                progress.update(task, completed=done, total=of)

            run = run_all(output, plan, environment(), workers_of(workers, chosen), tell)
    except KeyboardInterrupt:
        refuse("stopped; the same command goes on from here")
    except (WrongKernel, ValueError, OSError) as error:
        refuse(str(error))
    faults = sum(row.verdict == "fault" for row in run.rows)
    say(f"{plural(len(run.rows), 'result')} written to {output}, {faults} of them faults")


def compare(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A run that record wrote.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Another, to hold against it.")],
    fail_on: Annotated[
        FailOn, typer.Option(help="Exit 1 for faults alone, or for drift as well.")
    ] = FailOn.fault,
    factor: Annotated[
        float, typer.Option(min=1, help="Drift: R grew to more than so many times what it was.")
    ] = 4.0,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write everything as JSON.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page to look at.")] = None,
) -> None:
    """Say what moved between two runs, and which is nearer to the truth.

    Exit 0 no fault in the new run, 1 a fault, 2 could not compare.
    """
    from ..reports import compare_report as report
    from ..reports.html import html as to_html
    from ..reports.junit import junit as to_junit
    from ..runs.compare import apart, as_json, failed
    from ..runs.compare import compare as compare_all
    from ..runs.files import as_json as to_text
    from ..runs.run_file import BadRun, beside, read, read_values

    taken = {realpath(file) for run in (old, new) for file in (run, beside(run))}
    for file in filter(None, (json, junit, html)):
        if realpath(file) in taken:
            refuse(f"{file} would be written over; name another file")
        taken.add(realpath(file))
        page(file)
    try:
        runs = [read(file) for file in (old, new)]
        kept = [read_values(file, run) for file, run in zip((old, new), runs, strict=True)]
    except BadRun as error:
        refuse(str(error))
    before, after = runs
    changes = compare_all(before, after, factor)
    if not changes:
        refuse("neither run holds a result; record some --cases")
    far = apart(after, *kept)

    def as_text() -> str:
        return to_text(as_json(before, after, changes, far))

    written: list[tuple[Path | None, Callable[[], str]]] = [
        (json, as_text),
        (junit, lambda: to_junit(changes, fail_on.value)),
        (html, lambda: to_html(before, after, changes)),
    ]
    for given, text in written:
        if given is not None:
            save(given, text())
    if markdown:
        show(report.markdown(before, after, changes, far))
    else:
        report.print_comparison(before, after, changes, far)
    raise typer.Exit(FAULT if failed(changes, fail_on.value) else AGREE)


def matrix(
    versions: Annotated[list[str], typer.Argument(metavar="VERSION...", help="From old to new.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder of the runs.")] = Path(
        "matrix"
    ),
    cache: Annotated[
        Path, typer.Option(help="The folder of the environments, one a version, which stay.")
    ] = Path("~/.cache/bptt-oracle"),
    python: Annotated[
        str, typer.Option(help="The Python to make them with; not every torch runs on each.")
    ] = sys.executable,
    dtype: Dtypes = None,
    path: Paths = None,
    cases: Cases = 200,
    seed: Seed = 0,
    workers: Workers = 0,
    fail_on: Annotated[FailOn, typer.Option(help="As for compare.")] = FailOn.fault,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")
    ] = False,
) -> None:
    """Install versions of torch one after another, record each, and compare each with the next.

    Exit as compare does. The runs stay in the folder; compare tells more of any two.
    """
    from ..reports.compare_report import grid, print_table
    from ..runs import versions as work
    from ..runs.compare import failed
    from ..runs.run_file import BadRun

    if reason := work.unfit(versions):
        refuse(reason)
    options = [f"--cases={cases}", f"--seed={seed}", f"--workers={workers}"]
    options += [f"--dtype={name.value}" for name in dtype or ()]
    options += [f"--path={name}" for name in path or ()]
    try:
        runs = work.matrix(versions, cache.expanduser(), output, options, python, say)
    except (work.CannotRun, BadRun, OSError) as error:
        refuse(str(error))
    except KeyboardInterrupt:
        refuse("stopped; the same command goes on from here")
    steps = work.changes_of(versions, runs)
    if markdown:
        show(grid(*work.table(steps, runs)) + "\n")
    else:
        print_table(*work.table(steps, runs))
    wrong = any(failed(changes, fail_on.value) for _, changes in steps)
    raise typer.Exit(FAULT if wrong else AGREE)
