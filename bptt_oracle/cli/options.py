"""Options that several commands share, and the values they stand for."""

import os
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..reports.console import notify
from .exits import stop

if TYPE_CHECKING:
    from ..cases.case import Case

MOST = 1_000_000  # cases: a day of work
IMPOSSIBLE = 10  # times the memory of the machine that a case may need by the estimate
LAST = 2**64 // MOST - 1  # seed of a corpus; times MOST, a seed of its cases has 64 bits


class Device(StrEnum):
    """Where to run; auto is every device of this machine."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Dtype(StrEnum):
    """The dtypes that can be tested."""

    float32 = "float32"
    float64 = "float64"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Stale(StrEnum):
    """What a listed deviation that no longer occurs does."""

    fail = "fail"
    warn = "warn"


class FailOn(StrEnum):
    """What makes a comparison fail; a fault always does."""

    fault = "fault"
    drift = "drift"
    removed = "removed"


DeviceOption = Annotated[Device, typer.Option(help="Device to run on; auto: all of this machine.")]
Dtypes = Annotated[
    list[Dtype] | None,
    typer.Option(help="Dtype to test; may be repeated. Default: float32 and float64."),
]
Paths = Annotated[
    list[str] | None,
    typer.Option(
        help="Path to test; may be repeated; all: every path that neither compiles nor is a "
        "road; roads: nets copied, scripted, exported, mapped, differentiated twice and more. "
        "Default: the common ones."
    ),
]
Implementations = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE:OBJECT",
        help="Judge this implementation instead of torch's paths; may be repeated.",
    ),
]
Cases = Annotated[int, typer.Option(min=1, max=MOST, help="Number of cases of the corpus.")]
OwnCases = Annotated[
    list[str] | None,
    typer.Option(
        "--case",
        metavar="ID",
        help="Run this case instead of the corpus; may be repeated. An id spells out cell, sizes, "
        "options, lengths, cotangents, numbers and seed: "
        "LSTM.T100.B16.I32.H64.L2.bi.packed-uniform1.h0.output+h_n.generic.s1.",
    ),
]
CasesFile = Annotated[
    Path | None,
    typer.Option(
        help="Run the cases of this file instead of the corpus: an id on each line, or TOML or "
        "YAML with sizes and with lengths by a rule (docs/cases/own_cases.md).",
    ),
]
Seed = Annotated[int, typer.Option(min=0, max=LAST, help="Seed of the corpus.")]
Workers = Annotated[
    int, typer.Option(min=0, help="Number of processes; 0: one for each processor.")
]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")]
FailOnOption = Annotated[
    list[FailOn] | None,
    typer.Option(help="Exit 1 for this as well as for faults; may be repeated."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the verdict line.")]


def require_default(context: typer.Context, message: str, *names: str) -> None:
    """Stop with the message, in which {} is the name of an option, if one of them was given."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            stop(message.format(name))


def own_cases_of(context: typer.Context, ids: list[str] | None, file: Path | None) -> "list[Case]":
    """The cases of --case and --cases-file, each once; none if neither is given. Stops if one is
    wrong, and if the corpus is asked for as well."""
    from ..cases.case import parse
    from ..cases.own_cases import read_cases

    if not ids and file is None:
        return []
    message = "--case and --cases-file replace the corpus; leave --{} out"
    require_default(context, message, "cases", "seed")
    try:
        cases = [parse(name) for name in ids or ()]
        cases += read_cases(file) if file is not None else []
    except OSError as error:
        stop(f"{file} cannot be read: {error.strerror}; name a file that exists")
    except ValueError as error:
        stop(str(error))
    return list(dict.fromkeys(cases))


def warn_of_large(cases: "Iterable[Case]", dtypes: Sequence[str]) -> None:
    """Report the expected time and memory of each case that is large. Stops at one that needs many
    times the memory of this machine, because it would fill it before it fails."""
    from ..judging.cost import (
        LARGE_CASE,
        describe,
        estimate,
        machine_memory,
        measure_rate,
        numbers_of,
    )

    for case in cases:
        if (numbers := numbers_of(case)) >= LARGE_CASE:
            rate = measure_rate()
            needed, present = estimate(case, "float32", rate).memory, machine_memory()
            if needed > IMPOSSIBLE * present:
                stop(
                    f"{case.id} needs about {needed / 1e9:.0f} GB, and this machine has "
                    f"{present / 1e9:.0f} GB; choose smaller sizes"
                )
            costs = [f"{describe(estimate(case, dtype, rate))} in {dtype}" for dtype in dtypes]
            notify(
                f"{case.id} is large ({numbers:.0e} numbers): to judge it takes about "
                f"{', '.join(costs)}, on one core for each; several --workers need that memory "
                "each"
            )


def dtypes_of(dtypes: list[Dtype] | None) -> list[str]:
    """The names of the dtypes without repetition; float32 and float64 if there are none."""
    return [d.value for d in dict.fromkeys(dtypes or (Dtype.float32, Dtype.float64))]


def require_path_names(names: Iterable[str]) -> None:
    """Stop unless each is the name of a path, which may run here or not, or stands for several."""
    from torch_impl.execution.catalogue import OPTIONAL_PATHS, PATHS
    from torch_impl.roads.catalogue import ROAD_PATHS

    known = ["all", "roads", *PATHS, *OPTIONAL_PATHS, *ROAD_PATHS]
    for name in names:
        if name not in known:
            stop(f"there is no path {name!r}; choose from {', '.join(known)}")


def paths_of(
    device: Device, names: list[str] | None, reasons: dict[str, str] | None = None
) -> tuple[list[str], dict[str, str]]:
    """The names of the paths to run, and for each device that was left out without being named
    the reason. `all` stands for every path that is neither a road nor compiles, which takes
    minutes a case, and `roads` for every road.
    Stops if a path does not exist or cannot run here, or, where `reasons` says why which devices
    cannot be used, there."""
    from torch_impl.execution.catalogue import OPTIONAL_PATHS, PATHS, devices
    from torch_impl.roads.catalogue import ROAD_PATHS

    require_path_names(names or ())
    paths = PATHS | OPTIONAL_PATHS | ROAD_PATHS
    reasons = devices() if reasons is None else reasons
    if device is not Device.auto and reasons[device.value]:
        stop(f"--device {device.value} cannot run: {reasons[device.value]}")
    available = [
        p
        for p in paths.values()
        if not reasons[p.device]
        and device in (Device.auto, p.device)
        and p.variant != "compiled"
        and p.name not in ROAD_PATHS
    ]
    chosen: list[str] = []
    for name in names or ():
        if name == "all":
            chosen += [p.name for p in available]
            continue
        if name == "roads" and device in (Device.auto, Device.cpu):
            chosen += ROAD_PATHS
            continue
        own = "cpu" if name == "roads" else paths[name].device
        if device not in (Device.auto, own):
            stop(f"the path {name} runs on {own}, not on --device {device.value}")
        if reasons[own]:
            stop(f"the path {name} cannot run: {reasons[own]}")
        chosen.append(name)
    if names:
        return list(dict.fromkeys(chosen)), {}
    skipped = reasons if device is Device.auto else {}
    return [p.name for p in available if p.name in PATHS], skipped


def workers_of(workers: int, paths: list[str]) -> int:
    """The number of processes: 1 if the paths share a device, one for each processor if 0."""
    if any(not name.startswith("cpu") for name in paths):
        return 1
    return workers or os.cpu_count() or 1
