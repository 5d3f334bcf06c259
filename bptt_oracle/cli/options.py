"""Options that several commands share, and the values they stand for."""

import os
from enum import StrEnum
from typing import Annotated

import typer

from .exits import stop

MOST = 1_000_000  # cases: a day of work
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
        help="Path to test; may be repeated; all: every path that does not compile. "
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


def dtypes_of(dtypes: list[Dtype] | None) -> list[str]:
    """The names of the dtypes without repetition; float32 and float64 if there are none."""
    return [d.value for d in dict.fromkeys(dtypes or (Dtype.float32, Dtype.float64))]


def paths_of(
    device: Device, names: list[str] | None, reasons: dict[str, str] | None = None
) -> tuple[list[str], dict[str, str]]:
    """The names of the paths to run, and for each device that was left out without being named
    the reason. `all` stands for every path that does not compile, which takes minutes a case.
    Stops if a path does not exist or cannot run here, or, where `reasons` says why which devices
    cannot be used, there."""
    from torch_impl.execution.catalogue import OPTIONAL_PATHS, PATHS, devices

    reasons, paths = devices() if reasons is None else reasons, PATHS | OPTIONAL_PATHS
    if device is not Device.auto and reasons[device.value]:
        stop(f"--device {device.value} cannot run: {reasons[device.value]}")
    available = [
        p
        for p in paths.values()
        if not reasons[p.device] and device in (Device.auto, p.device) and p.variant != "compiled"
    ]
    chosen: list[str] = []
    for name in names or ():
        if name == "all":
            chosen += [p.name for p in available]
            continue
        if name not in paths:
            stop(f"there is no path {name!r}; choose from all, {', '.join(paths)}")
        own = paths[name].device
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
