"""`bptt-oracle hunt`: random programs over torch's roads, for a time."""

from pathlib import Path
from typing import Annotated

import typer

from ..processes.interrupt import terminate_on_interrupt
from ..processes.workers import limit_threads, worker_context
from ..reports.console import AGREE, FAULT, new_console, notify, print_verdict, write_output
from .exits import stop
from .options import Quiet, Seed
from .output_files import require_writable, require_writable_in_place

WEEK = 7 * 24 * 60


def hunt(
    minutes: Annotated[float, typer.Option(min=0, max=WEEK, help="How long to hunt.")] = 10,
    seed: Seed = 0,
    state: Annotated[
        Path | None,
        typer.Option(help="File to keep finds and progress in; the next hunt with it goes on."),
    ] = None,
    road: Annotated[
        list[str] | None, typer.Option(help="Road to hunt on; may be repeated. Default: all.")
    ] = None,
    all_finds: Annotated[
        bool, typer.Option("--all", help="Print the finds of earlier hunts in the file, too.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Run random programs, judge them, and print the smallest ones that fail, the worst first.

    With --state, a cause that an earlier hunt found is not reported again; docs/finds/finds.md has
    those found so far. Exit status: 0 nothing new was found, 1 something was, 2 could not run.
    """
    worker_context()
    with terminate_on_interrupt():
        import torch

        from ..hunting.engine import hunt as hunt_on
        from ..hunting.report import by_severity, counts_by_subject, headline, program_of, summary
        from ..hunting.store import Find, open_state, read_finds
        from ..hunting.subjects.table import names

    for name in road or ():
        if name not in names():
            stop(f"there is no road {name!r}; choose from {', '.join(names())}")
    require_writable(state)  # SQLite makes a journal beside it
    require_writable_in_place(state)
    limit_threads()
    version, found = torch.__version__, list[Find]()

    def report(find: Find) -> None:
        found.append(find)
        if not quiet:
            notify(headline(find))

    with open_state(state) as connection:
        before = read_finds(connection, version)
        roads = list(dict.fromkeys(road or names()))
        progress = hunt_on(connection, version, roads, seed, minutes * 60, report)
        shown = by_severity(read_finds(connection, version) if all_finds else found)
    if not quiet:
        for find in shown:
            write_output(f"{program_of(find)}\n")
        new_console().print(counts_by_subject(progress), soft_wrap=True, highlight=False)
    status = FAULT if found else AGREE
    print_verdict(summary(len(found), len(before), progress, seed), status)
    raise typer.Exit(status)
