"""`bptt-oracle preflight`: does each device of this machine compute rightly today?"""

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..processes.interrupt import terminate_on_interrupt
from ..processes.workers import run_isolated, worker_context
from ..reports.console import notify, write_output
from .exits import stop
from .options import Device, DeviceOption, Dtypes, Quiet, dtypes_of
from .output_files import require_writable_in_place


def preflight(
    device: DeviceOption = Device.auto,
    dtype: Dtypes = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="File to which the lines are appended, with what `cohort` needs to name the "
            "element that differs: 200 kB a device.",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Judge every device of this machine against a shipped truth: under a minute each.

    Standard output has one line of JSON for each device, standard error a sentence. Exit 0
    healthy, 1 a device computes wrongly, 2 a device could not be examined.
    """
    worker_context()  # it imports torch while this process does
    with terminate_on_interrupt():
        from torch_impl.execution.catalogue import devices

        from ..fleet import lines
        from ..fleet.devices import DETERMINISTIC, list_devices
        from ..fleet.fixed_cases import DTYPES
        from ..fleet.preflight import Settings, examine_device, failed_line
        from ..fleet.truth_file import read
        from ..processes.failures import Crash

    if device is not Device.auto and devices()[device.value]:
        stop(f"--device {device.value} cannot run: {devices()[device.value]}")
    dtypes = tuple(dtypes_of(dtype))
    if unknown := [name for name in dtypes if name not in DTYPES]:
        stop(f"there is no truth for {unknown[0]}; choose from {', '.join(DTYPES)}")
    require_appendable(output)
    read()  # before the work
    os.environ.setdefault(*DETERMINISTIC)
    examined = []
    for name in list_devices(device.value):
        try:
            line = run_isolated(partial(examine_device, settings=Settings(dtypes)), name)
        except Crash as crash:
            line = failed_line(name, str(crash))
        examined.append(line)
        if not quiet:
            write_output(lines.to_text(line, brief=True))
        if output is not None:
            lines.append(output, line)
        notify(lines.sentence_of(line))
    raise typer.Exit(lines.status_of(examined))


def require_appendable(file: Path | None) -> None:
    """Stop before the work unless lines can be appended: the file is new, or holds lines."""
    from ..fleet.lines import holds_lines

    require_writable_in_place(file)
    if file is not None and file.is_file():
        try:
            may_append = not file.stat().st_size or holds_lines(file)
        except OSError as error:
            stop(f"{file} cannot be read: {error.strerror}; choose another name")
        if not may_append:
            stop(f"{file} holds no lines of preflight and was left unchanged; choose another name")
