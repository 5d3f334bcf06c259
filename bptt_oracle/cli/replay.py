"""`bptt-oracle replay`: one case again."""

from typing import Annotated

import typer

from ..cases.case import Case
from ..judging.truth import Expected
from ..processes.interrupt import terminate_on_interrupt
from ..processes.workers import limit_threads
from ..reports.console import AGREE, COULD_NOT_RUN, FAULT, new_console, write_output
from .exits import stop
from .options import Device, Dtype, paths_of, warn_of_large


def replay(
    case: Annotated[str, typer.Argument(metavar="ID", help="A case id, as check prints it.")],
    path: Annotated[str | None, typer.Option(help="Path to run. Default: cpu-native.")] = None,
    implementation: Annotated[
        str | None,
        typer.Option(metavar="MODULE:OBJECT", help="Run this implementation instead of a path."),
    ] = None,
    dtype: Annotated[Dtype, typer.Option(help="Dtype to test.")] = Dtype.float32,
    script: Annotated[
        bool,
        typer.Option("--script", help="Print a program instead, for a bug report."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print the environment, too.")
    ] = False,
) -> None:
    """Run one case again and print the numbers and the true ones; exit status as check.

    The program that --script prints needs only torch and numpy, or the implementation.
    """
    with terminate_on_interrupt():
        from torch_impl.execution.path import WrongKernel
        from torch_impl.optimizers.table import OPTIMIZERS

        from ..cases.case import parse
        from ..implementations.loading import implementation_named, load
        from ..reports.check_tables import print_environment
        from ..reports.replay_tables import print_invalid_calls, print_replay, run_case
        from ..runs.environment import environment
        from ..runs.results import INVALID_CALLS_PATH, UNFINISHED
        from ..runs.row import MODEL

    limit_threads()
    if implementation and path is not None:
        stop("--implementation replaces --path; leave it out")
    path = path or "cpu-native"
    if path == INVALID_CALLS_PATH and script:
        stop("cpu-invalid-calls has no --script; leave it out, or name another --path")
    if path == INVALID_CALLS_PATH and dtype is not Dtype.float32:
        stop("cpu-invalid-calls runs only in float32; leave --dtype out, or name another --path")
    if case.startswith(MODEL):
        stop(
            f"{case} is a call inside your own model; `bptt-oracle record --model` computes it "
            "again, and with --script writes a program for the worst call"
        )
    if case.partition(".")[0] in OPTIMIZERS:
        stop(
            f"{case!r} is a case of an optimizer, which replay does not show; `bptt-oracle check` "
            "computes it again with the same --path, --dtype, --cases and --seed"
        )
    if path in ("all", "roads"):
        stop("a case is replayed on one --path at a time; name one")
    try:
        described = parse(case)
    except ValueError as error:
        stop(str(error))
    warn_of_large([described], [dtype.value])
    console = new_console()
    if path == INVALID_CALLS_PATH:
        if verbose:
            print_environment(console, environment(), True)
        try:
            verdict = print_invalid_calls(console, described)
        except ValueError as error:
            stop(str(error))
        status = COULD_NOT_RUN if verdict in UNFINISHED else AGREE
        raise typer.Exit(FAULT if verdict == "fault" else status)
    name = implementation or paths_of(Device.auto, [path])[0][0]
    if script and name.endswith("-subsets"):
        stop(
            f"{name} asks for gradients in turns and has no --script; leave it out, "
            "or name another --path"
        )
    if script and not implementation and _is_road(name):
        stop(f"{name} is a road, which has no --script; leave it out, or name another --path")
    judged = load(implementation) if implementation else implementation_named(name)
    try:
        answer, expected, known = run_case(described, judged, dtype.value)
    except (ValueError, WrongKernel) as error:
        stop(str(error))
    if script:
        write_output(_program(described, name, dtype.value, expected))
        return
    if verbose:
        print_environment(console, environment(*([judged] if implementation else [])), True)
    option = "--implementation" if implementation else "--path"
    console.print(
        f"{described.id}  {option} {name} --dtype {dtype.value}", soft_wrap=True, highlight=False
    )
    if isinstance(answer, str):
        raiser = f"{implementation}:" if implementation else "torch raised"
        verdict = f"known deviation {known}" if known else "fault"
        console.print(f"{raiser} {answer}; verdict: {verdict}", soft_wrap=True, markup=False)
        raise typer.Exit(AGREE if known else FAULT)
    verdict = print_replay(console, described, answer, expected, known)
    statuses = {"agree": AGREE, "known deviation": AGREE, "fault": FAULT}
    raise typer.Exit(statuses.get(verdict, COULD_NOT_RUN))


def _is_road(name: str) -> bool:
    """Whether a path is a road of `torch_impl.roads`."""
    from torch_impl.roads.catalogue import ROADS

    return name in ROADS


def _program(case: Case, name: str, dtype: str, expected: Expected) -> str:
    """The program of --script for a path of torch, or for an implementation."""
    from ..implementations.loading import is_torch_path
    from ..reports.script import implementation_script, script

    if not is_torch_path(name):
        return implementation_script(case, name, dtype, expected)
    from torch_impl.roads.catalogue import path_named

    return script(case, path_named(name), dtype, expected)
