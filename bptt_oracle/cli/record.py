"""`bptt-oracle record`: write what this torch computes to a run file."""

from pathlib import Path
from typing import Annotated

import typer

from ..processes.interrupt import terminate_on_interrupt
from ..processes.workers import limit_threads, worker_context
from ..reports.console import notify, plural, progress_bar
from .cluster import (
    Patience,
    Resources,
    Scheduler,
    SchedulerFile,
    devices_of,
    open_engine,
)
from .exits import stop
from .options import (
    Cases,
    Device,
    DeviceOption,
    Dtypes,
    Implementations,
    Paths,
    Seed,
    Workers,
    dtypes_of,
    paths_of,
    workers_of,
)
from .output_files import require_writable


def record(
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")],
    device: DeviceOption = Device.auto,
    dtype: Dtypes = None,
    path: Paths = None,
    cases: Cases = 200,
    seed: Seed = 0,
    implementation: Implementations = None,
    values: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Also keep the tensors of this case; may be repeated."),
    ] = None,
    workers: Workers = 0,
    scheduler: Scheduler = "",
    scheduler_file: SchedulerFile = None,
    resources: Resources = "",
    wait: Patience = 60,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only the last line, no progress.")
    ] = False,
) -> None:
    """Record what this torch, or an implementation, computes: R and the exact bits of all tensors.

    A run that was stopped is continued by the same command. Exit 0 written, 2 not written.
    """
    if workers != 1 and not scheduler and scheduler_file is None:
        worker_context()  # it imports torch while this process does
    with terminate_on_interrupt():
        from torch_impl.execution.path import WrongKernel

        from ..cases.case import parse
        from ..implementations.loading import load
        from ..runs.environment import environment
        from ..runs.file_kinds import is_run
        from ..runs.record import Plan
        from ..runs.record import record as run_all

    require_writable(output)
    try:
        may_write = not output.exists() or is_run(output)
    except OSError as error:
        stop(f"{output} cannot be read: {error.strerror}; choose another name")
    if not may_write:
        stop(f"{output} is not a run file and was left unchanged; choose another name")
    try:
        cases_to_keep = [parse(name).id for name in values or ()]
    except ValueError as error:
        stop(str(error))
    loaded = [load(name) for name in implementation or ()]
    limit_threads()
    try:
        with (
            open_engine(scheduler, scheduler_file, resources, wait) as engine,
            progress_bar(quiet) as progress,
        ):
            reasons = None if implementation or not engine else devices_of(engine)
            chosen = implementation or paths_of(device, path, reasons)[0]
            plan = Plan(cases, seed, dtypes_of(dtype), chosen, cases_to_keep)
            task = progress.add_task("cases recorded")

            def show_progress(done: int, total: int) -> None:
                on = f" on {plural(engine.workers(), 'worker')}" if engine else ""
                progress.update(
                    task, completed=done, total=total, description=f"cases recorded{on}"
                )

            processes = workers_of(workers, [] if implementation else chosen)
            facts = environment(*loaded)
            written = run_all(output, plan, facts, processes, show_progress, engine)
    except KeyboardInterrupt:
        stop("stopped; the same command continues from here")
    except (WrongKernel, ValueError) as error:
        stop(str(error))
    sentence = f"{plural(written.verdicts.total(), 'result')} written to {output}, "
    sentence += plural(written.verdicts["fault"], "fault")
    if number := written.verdicts["crash"]:
        named = [f"{r.case} --path {r.path} --dtype {r.dtype}: {r.note}" for r in written.crashes]
        named += [f"and {number - len(named)} more"] * (number > len(named))
        sentence += f", {number} × crash ({'; '.join(named)})"
    notify(sentence)
