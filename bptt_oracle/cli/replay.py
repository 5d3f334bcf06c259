"""`bptt-oracle replay`: one case again."""

from typing import Annotated

import typer

from ..processes.interrupt import terminate_on_interrupt
from ..processes.workers import limit_threads
from ..reports.console import AGREE, COULD_NOT_RUN, FAULT, new_console, write_output
from .exits import stop
from .options import Device, Dtype, paths_of


def replay(
    case: Annotated[str, typer.Argument(metavar="ID", help="A case id, as check prints it.")],
    path: Annotated[str, typer.Option(help="Path to run.")] = "cpu-native",
    dtype: Annotated[Dtype, typer.Option(help="Dtype to test.")] = Dtype.float32,
    script: Annotated[
        bool,
        typer.Option("--script", help="Print a program instead that needs only torch and numpy."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print the environment, too.")
    ] = False,
) -> None:
    """Run one case again and print torch's numbers and the true ones; exit status as check."""
    with terminate_on_interrupt():
        from torch_impl.execution.catalogue import path_named
        from torch_impl.execution.path import WrongKernel

        from ..cases.case import parse
        from ..reports.check_tables import print_environment
        from ..reports.replay_tables import print_invalid_calls, print_replay, run_case
        from ..reports.script import script as program
        from ..runs.environment import environment
        from ..runs.examine import UNFINISHED

    limit_threads()
    if path == "cpu-invalid-calls" and script:
        stop("cpu-invalid-calls has no --script; leave it out, or name another --path")
    if path == "cpu-invalid-calls" and dtype is not Dtype.float32:
        stop("cpu-invalid-calls runs only in float32; leave --dtype out, or name another --path")
    if path == "all":
        stop("a case is replayed on one --path at a time; name one")
    try:
        described = parse(case)
    except ValueError as error:
        stop(str(error))
    console = new_console()
    if path == "cpu-invalid-calls":
        if verbose:
            print_environment(console, environment(), True)
        try:
            verdict = print_invalid_calls(console, described)
        except ValueError as error:
            stop(str(error))
        status = COULD_NOT_RUN if verdict in UNFINISHED else AGREE
        raise typer.Exit(FAULT if verdict == "fault" else status)
    (name,), _ = paths_of(Device.auto, [path])
    if script and path_named(name).variant == "subsets":
        stop(
            f"{name} asks for gradients in turns and has no --script; leave it out, "
            "or name another --path"
        )
    try:
        outcome, expected = run_case(described, path_named(name), dtype.value)
    except (ValueError, WrongKernel) as error:
        stop(str(error))
    if script:
        write_output(program(described, path_named(name), dtype.value, expected))
        return
    if verbose:
        print_environment(console, environment(), True)
    console.print(
        f"{described.id}  --path {name} --dtype {dtype.value}", soft_wrap=True, highlight=False
    )
    if isinstance(outcome, str):
        console.print(f"torch raised {outcome}; verdict: fault", soft_wrap=True, markup=False)
        raise typer.Exit(FAULT)
    verdict = print_replay(console, described, outcome, expected)
    raise typer.Exit({"agree": AGREE, "fault": FAULT}.get(verdict, COULD_NOT_RUN))
