"""`bptt-oracle record`: write what this torch computes to a run file."""

from pathlib import Path
from typing import Annotated

import typer

from ..processes.interrupt import terminate_on_interrupt
from ..processes.workers import limit_threads, worker_context
from ..reports.console import plural, write_summary
from .cluster import (
    Patience,
    Resources,
    Scheduler,
    SchedulerFile,
    devices_of,
    open_engine,
)
from .exits import stop, stop_interrupted
from .options import (
    Cases,
    CasesFile,
    Device,
    DeviceOption,
    Dtypes,
    Implementations,
    OwnCases,
    Paths,
    Seed,
    Workers,
    dtypes_of,
    own_cases_of,
    paths_of,
    require_default,
    warn_of_large,
    workers_of,
)
from .output_files import require_writable
from .record_model import record_model
from .recording import record_with_progress


def record(
    context: typer.Context,
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")],
    device: DeviceOption = Device.auto,
    dtype: Dtypes = None,
    path: Paths = None,
    cases: Cases = 200,
    seed: Seed = 0,
    case: OwnCases = None,
    cases_file: CasesFile = None,
    implementation: Implementations = None,
    values: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Also keep the tensors of this case; may be repeated."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="FILE:FUNCTION",
            help="Record your own model: a function that returns (model, batch, loss).",
        ),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="With --model: take weights and batch from this run."),
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --model: write a program for the worst call."),
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
    if model is None and (inputs or script):
        stop(f"{'--inputs' if inputs else '--script'} needs --model")
    if model is not None:
        require_default(context, "--model records your model; leave --{} out", "cases", "seed")
        if implementation or path or dtype or values or case or cases_file:
            stop(
                "--model replaces --path, --dtype, --implementation, --values and --case; leave "
                "them out"
            )
        _require_run_file(output)
        record_model(output, model, inputs, script, quiet)
    if workers != 1 and not scheduler and scheduler_file is None:
        worker_context()  # it imports torch while this process does
    with terminate_on_interrupt():
        from torch_impl.execution.path import WrongKernel

        from ..cases.case import parse
        from ..implementations.loading import load
        from ..runs.record import Plan

    own = own_cases_of(context, case, cases_file)
    warn_of_large(own, dtypes_of(dtype))
    _require_run_file(output)
    try:
        cases_to_keep = [parse(name).id for name in values or ()]
    except ValueError as error:
        stop(str(error))
    implementations = list(dict.fromkeys(implementation or ()))
    loaded = list(map(load, implementations))
    limit_threads()
    try:
        with open_engine(scheduler, scheduler_file, resources, wait) as engine:
            reasons = None if implementations or not engine else devices_of(engine)
            chosen = implementations or paths_of(device, path, reasons)[0]
            plan = Plan(cases, seed, dtypes_of(dtype), chosen, cases_to_keep, own)
            processes = workers_of(workers, [] if implementations else chosen)
            written = record_with_progress(output, plan, loaded, processes, quiet, engine)
    except KeyboardInterrupt:
        stop_interrupted()
    except (WrongKernel, ValueError) as error:
        stop(str(error))
    sentence = f"{plural(written.verdicts.total(), 'result')} written to {output}, "
    sentence += plural(written.verdicts["fault"], "fault")
    if number := written.verdicts["known deviation"]:
        sentence += f", {plural(number, 'known deviation')}"
    if number := written.verdicts["crash"]:
        named = [f"{r.case} --path {r.path} --dtype {r.dtype}: {r.note}" for r in written.crashes]
        named += [f"and {number - len(named)} more"] * (number > len(named))
        sentence += f", {number} × crash ({'; '.join(named)})"
    write_summary(sentence)


def _require_run_file(output: Path) -> None:
    """Stop unless a run can be written to this file, which may hold a run."""
    from ..runs.file_kinds import is_run

    require_writable(output)
    try:
        may_write = not output.exists() or is_run(output)
    except OSError as error:
        stop(f"{output} cannot be read: {error.strerror}; choose another name")
    if not may_write:
        stop(f"{output} is not a run file and was left unchanged; choose another name")
