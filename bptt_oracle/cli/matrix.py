"""`bptt-oracle matrix`: install, record and compare several versions of torch."""

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from ..reports.console import AGREE, COULD_NOT_RUN, FAULT, notify, print_verdict, write_output
from .exits import stop
from .options import Cases, Dtypes, FailOnOption, Markdown, Paths, Quiet, Seed, Workers


def matrix(
    versions: Annotated[
        list[str], typer.Argument(metavar="VERSION...", help="Versions of torch, from old to new.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the run files.")
    ] = Path("matrix"),
    cache: Annotated[
        Path, typer.Option(help="Folder that keeps the environments, one for each version.")
    ] = Path("~/.cache/bptt-oracle"),
    python: Annotated[
        str, typer.Option(help="Python that makes them; not every torch supports every Python.")
    ] = sys.executable,
    dtype: Dtypes = None,
    path: Paths = None,
    cases: Cases = 200,
    seed: Seed = 0,
    workers: Workers = 0,
    fail_on: FailOnOption = None,
    markdown: Markdown = False,
    quiet: Quiet = False,
) -> None:
    """Install versions of torch one after another, record each, and compare each with the next.

    Exit status as compare. The run files stay; compare reports more about any two of them.
    """
    from ..reports.compare_tables import markdown_table, print_table
    from ..reports.verdicts import matrix_verdict
    from ..runs import versions as work
    from ..runs.compare import is_failure
    from ..runs.row import BadRun
    from ..runs.run import open_runs

    if reason := work.find_problem(versions):
        stop(reason)
    versions = [work.full_version(version) for version in versions]
    options = [f"--cases={cases}", f"--seed={seed}", f"--workers={workers}"]
    options += [f"--dtype={name.value}" for name in dtype or ()]
    options += [f"--path={name}" for name in path or ()]
    options += ["--quiet"] * quiet
    report = (lambda sentence: None) if quiet else notify
    try:
        files = work.record_versions(versions, cache.expanduser(), output, options, python, report)
        with open_runs(*files) as runs:
            steps = work.compare_versions(versions, runs)
    except (work.CannotRun, BadRun) as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("stopped; the same command continues from here")
    count = sum((comparison.total for _, comparison in steps), Counter[str]())
    status = COULD_NOT_RUN if count["crash"] else AGREE
    status = FAULT if is_failure(count, fail_on or ()) else status
    if markdown and not quiet:
        write_output(markdown_table(*work.summarize(steps)) + "\n")
    else:
        if not quiet:
            print_table(*work.summarize(steps), names=1)
        print_verdict(matrix_verdict(versions, count), status)
    raise typer.Exit(status)
