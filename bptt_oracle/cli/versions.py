"""`bptt-oracle versions`: install, record and compare several versions of a package."""

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from ..reports.console import AGREE, COULD_NOT_RUN, FAULT, notify, print_verdict, write_output
from .exits import stop, stop_interrupted
from .options import (
    Cases,
    Dtypes,
    FailOnOption,
    Implementations,
    Markdown,
    Paths,
    Quiet,
    Seed,
    Workers,
    require_path_names,
)


def versions(
    versions: Annotated[
        list[str],
        typer.Argument(
            metavar="VERSION...",
            help="Versions from old to new: of torch, or of another package as NAME==VERSION.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the run files.")
    ] = Path("versions"),
    cache: Annotated[
        Path, typer.Option(help="Folder that keeps the environments, one for each version.")
    ] = Path("~/.cache/bptt-oracle"),
    python: Annotated[
        str, typer.Option(help="Python that makes them; not every version supports every Python.")
    ] = sys.executable,
    implementation: Implementations = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="FILE:FUNCTION",
            help="Record your own model: a function that returns (model, batch, loss).",
        ),
    ] = "",
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with", metavar="PACKAGE", help="Also install this package; may be repeated."
        ),
    ] = None,
    dtype: Dtypes = None,
    path: Paths = None,
    cases: Cases = 200,
    seed: Seed = 0,
    workers: Workers = 0,
    fail_on: FailOnOption = None,
    markdown: Markdown = False,
    quiet: Quiet = False,
) -> None:
    """Install versions of a package one after another, record each, and compare each with the next.

    For another package than torch, --implementation names what uses it. With --model, all versions
    get the weights and the batch of the first. Exit status as compare. The run files stay; compare
    reports more about any two of them.
    """
    from ..reports.compare_tables import markdown_table, print_table
    from ..reports.verdicts import versions_verdict
    from ..runs import versions as work
    from ..runs.compare import is_failure
    from ..runs.opening import open_runs
    from ..runs.releases import find_problem, parse_releases
    from ..runs.row import BadRun

    releases = parse_releases(versions)
    package, implementations, requirements = releases[0].package, implementation or [], with_ or []
    if model and (implementation or path or dtype):
        stop("--model replaces --path, --dtype and --implementation; leave them out")
    users_code = [model] if model else implementations
    if reason := find_problem(package, users_code, requirements, path or []):
        stop(reason)
    if path:
        require_path_names(path)
    for source in (name.rpartition(":")[0] for name in users_code):
        if source.endswith(".py") and not Path(source).is_file():
            stop(f"there is no file {source}; name one that exists")
    options = [f"--workers={workers}"]
    options += [] if model else [f"--cases={cases}", f"--seed={seed}"]
    options += [f"--dtype={name.value}" for name in dtype or ()]
    options += [f"--path={name}" for name in path or ()]
    options += ["--quiet"] * quiet
    report = (lambda sentence: None) if quiet else notify
    try:
        files = work.record_versions(
            releases,
            requirements,
            implementations,
            cache.expanduser(),
            output,
            options,
            python,
            report,
            model,
        )
        with open_runs(*files) as runs:
            steps = work.compare_versions(releases, runs)
    except (work.CannotRun, BadRun) as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop_interrupted()
    count = sum((comparison.total for _, comparison in steps), Counter[str]())
    status = COULD_NOT_RUN if count["crash"] else AGREE
    status = FAULT if is_failure(count, fail_on or ()) else status
    if markdown and not quiet:
        write_output(markdown_table(*work.summarize(package, steps)) + "\n")
    else:
        if not quiet:
            print_table(*work.summarize(package, steps), names=1)
        print_verdict(versions_verdict(releases, count), status)
    raise typer.Exit(status)
