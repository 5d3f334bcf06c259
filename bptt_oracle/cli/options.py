"""What the commands of the command line have in common."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ..reports.console import (
    COULD_NOT_RUN,
    say,
)

MOST = 1_000_000  # cases: a day of work
LAST = 2**64 // MOST - 1  # seed of a corpus; those of its cases, MOST times that, have 64 bits


class Device(StrEnum):
    """Where to run; auto is every device there is."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Dtype(StrEnum):
    """The tested types."""

    float32 = "float32"
    float64 = "float64"
    bfloat16 = "bfloat16"
    float16 = "float16"


# What the commands that go through the corpus ask alike
Where = Annotated[Device, typer.Option(help="Where to run; auto is all there is.")]
Dtypes = Annotated[
    list[Dtype] | None,
    typer.Option(help="Tested type; may be repeated; float32 and float64 by default."),
]
Paths = Annotated[
    list[str] | None, typer.Option(help="Path, may be repeated; all for every cheap one.")
]
Cases = Annotated[int, typer.Option(min=1, max=MOST, help="How many cases of the corpus.")]
Seed = Annotated[int, typer.Option(min=0, max=LAST, help="Which corpus.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes; 0 for one a processor.")]


def dtypes_of(dtypes: list[Dtype] | None) -> list[str]:
    """Those asked for, each once; float32 and float64 where none are."""
    return [d.value for d in dict.fromkeys(dtypes or (Dtype.float32, Dtype.float64))]


def paths_of(device: Device, names: list[str] | None) -> tuple[list[str], dict[str, str]]:
    """The paths to take, and why devices that were not named are left out. `all` stands for every
    path but those that compile, which take minutes a case."""
    from torch_impl.execution.catalogue import OPTIONAL_PATHS, PATHS, devices

    reasons, known = devices(), PATHS | OPTIONAL_PATHS
    if device is not Device.auto and reasons[device.value]:
        refuse(f"--device {device.value} cannot run: {reasons[device.value]}")
    here = [
        p
        for p in known.values()
        if not reasons[p.device] and device in (Device.auto, p.device) and p.variant != "compiled"
    ]
    chosen: list[str] = []
    for name in names or ():
        if name == "all":
            chosen += [p.name for p in here]
            continue
        if name not in known:
            refuse(f"there is no path {name!r}; choose from all, {', '.join(known)}")
        where = known[name].device
        if device not in (Device.auto, where):
            refuse(f"the path {name} runs on {where}, not on --device {device.value}")
        if reasons[where]:
            refuse(f"the path {name} cannot run: {reasons[where]}")
        chosen.append(name)
    if names:
        return list(dict.fromkeys(chosen)), {}
    skipped = reasons if device is Device.auto else {}
    return [p.name for p in here if p.name in PATHS], skipped


def workers_of(workers: int, paths: list[str]) -> int:
    """How many processes: one a processor for 0, one where a device is shared."""
    if any(not name.startswith("cpu") for name in paths):
        return 1
    return workers or os.cpu_count() or 1


def writable(file: Path | None) -> None:
    """Refuse before the work what could not be written after it."""
    if file is None:
        return
    if not file.name:
        refuse(f"{file} cannot be written: it is a folder, and no name; name a file")
    try:
        file.stat()
    except FileNotFoundError:
        pass
    except OSError as error:  # links in a circle, a name too long
        refuse(f"{file} cannot be written: {error.strerror}; name another file")
    if file.is_dir():
        refuse(f"{file} cannot be written: it is a folder; name a file")
    if not file.parent.is_dir():
        refuse(f"{file} cannot be written: its folder does not exist; name one that does")
    if not os.access(file if file.exists() and not file.is_file() else file.parent, os.W_OK):
        refuse(f"{file} cannot be written: Permission denied")


def page(file: Path | None) -> None:
    """Refuse before the work what could not be written after it, or would cost a run."""
    writable(file)
    if file is not None:
        no_run(file)


def no_run(file: Path) -> None:
    """Refuse to write over what was recorded: it took long, and the torch of it may be gone."""
    from ..runs.run_file import recorded

    try:
        kind = recorded(file)
    except OSError as error:
        refuse(f"{file} cannot be read, and may be a run: {error.strerror}; name another file")
    if kind:
        refuse(f"{file} is {kind}, and stays as it is; name another file")


def save(file: Path, text: str) -> None:
    """Write a file whole, or say why not."""
    from ..runs.files import write_text

    try:
        write_text(file, text)
    except OSError as error:
        refuse(f"{file} cannot be written: {error.strerror}")


def refuse(sentence: str) -> NoReturn:
    """Say why nothing was run, and stop."""
    say(sentence)
    raise typer.Exit(COULD_NOT_RUN)
