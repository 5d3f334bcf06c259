"""`bptt-oracle export`: a run as JSON or CSV."""

from os.path import realpath
from pathlib import Path
from typing import Annotated

import typer

from ..reports.console import AGREE
from .exits import stop
from .output_files import require_report_file, save_pieces


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run file that record wrote.")],
    json: Annotated[
        Path | None, typer.Option(help="File for JSON, which compare reads as well.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="File for CSV, one line for each result.")
    ] = None,
) -> None:
    """Write a run as text, for people and for git.

    A run is an SQLite database, which many programs read without this command. Exit 0 written,
    2 not written.
    """
    from ..runs.export import to_csv, to_json
    from ..runs.opening import open_runs

    if json is None and csv is None:
        stop("nothing to write; name a file with --json or --csv")
    taken = {realpath(run)}
    for file in filter(None, (json, csv)):
        if realpath(file) in taken:
            stop(f"{file} would be written over; name another file")
        taken.add(realpath(file))
        require_report_file(file)
    with open_runs(run) as (opened,):
        if json is not None:
            save_pieces(json, to_json(opened))
        if csv is not None:
            save_pieces(csv, to_csv(opened))
    raise typer.Exit(AGREE)
