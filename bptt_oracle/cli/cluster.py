"""The options of `record` for workers on many machines."""

from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..processes.chunks import Engine
from ..processes.cluster import connect
from ..processes.failures import CommandError, first_line
from .exits import stop

_ANSWER = 300.0  # seconds; a worker first imports torch
Scheduler = Annotated[
    str, typer.Option(metavar="ADDRESS", help="Work on the workers of this Dask scheduler.")
]
SchedulerFile = Annotated[
    Path | None, typer.Option(help="The same; the file that dask scheduler wrote.")
]
Resources = Annotated[
    str, typer.Option(metavar="NAME=NUMBER", help="What a worker must have, such as GPU=1.")
]
Patience = Annotated[
    float, typer.Option(min=1, help="Seconds to wait for workers of the scheduler.")
]


@contextmanager
def open_engine(
    scheduler: str, scheduler_file: Path | None, resources: str, patience: float
) -> Iterator[Engine | None]:
    """The workers of the scheduler that the options name; None if they name none. Stops if it
    cannot be used."""
    if not scheduler and scheduler_file is None:
        if resources:
            stop("--resources is for workers of a scheduler; name it with --scheduler-file")
        yield None
        return
    if scheduler and scheduler_file is not None:
        stop("--scheduler and --scheduler-file name two schedulers; name one")
    with connect(scheduler, scheduler_file, _parse(resources), patience) as engine:
        yield engine


def devices_of(engine: Engine, trials: int = 3) -> dict[str, str]:
    """For each kind of device, why a worker cannot use it; empty if it can. Raises CommandError if
    no worker can tell. If a worker dies, another one is tried."""
    from ..runs.campaign import find_devices

    try:
        found: dict[str, str] = engine.submit(find_devices).result(_ANSWER)
    except (Exception, CancelledError) as error:
        engine.require_alive()
        if isinstance(error, engine.deaths) and trials > 1:
            return devices_of(engine, trials - 1)
        raise CommandError(
            f"a worker of the scheduler cannot run bptt-oracle ({first_line(error)[:200]}); "
            "install the same version for all workers and for the scheduler"
        ) from None
    return found


def _parse(resources: str) -> dict[str, float]:
    """Names and numbers in "GPU=1,MEMORY=2"."""
    found: dict[str, float] = {}
    for part in filter(None, resources.split(",")):
        name, _, number = part.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            found[name.strip()] = 0
        if not name.strip() or not 0 < found[name.strip()] < float("inf"):
            stop(f"--resources {resources}: expected NAME=NUMBER above 0, such as GPU=1")
    return found
