"""The command line: `python -m benchmarks`."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

LIBRARIES = ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB_MAXIMUM", "NUMEXPR")
SETTINGS = {f"{library}_NUM_THREADS": "1" for library in LIBRARIES} | {
    # glibc keeps what is freed: what fresh pages cost is up to the machine, and wildly uneven
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "1000000000000",
}
SIZES = ["5,3,4,4", "50,16,32,32", "100,32,128,128", "100,64,256,512"]


def benchmarks(
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="T,B,I,H", help="Steps, batch, input, hidden; may be repeated."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Under a minute: up to H = 128, float64, few rounds.")
    ] = False,
    seconds: Annotated[
        float | None, typer.Option(min=0.001, help="Of each comparison; 10, or 0.5 if quick.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write every row to this file too.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables as a page too.")] = None,
) -> None:
    """Time and memory of the reference, against torch and against bare matrix products."""
    import torch

    from bptt_oracle.reports.check_tables import print_environment
    from bptt_oracle.reports.console import new_console
    from bptt_oracle.runs.environment import environment
    from bptt_oracle.runs.files import write_json, write_text

    from . import measures
    from .clock import CLOCK
    from .contestants import Size
    from .tables import page, show
    from .throughput import throughput

    torch.set_num_threads(1)
    sizes = [Size(*numbers(text)) for text in size or SIZES]
    if quick:
        sizes = [s for s in sizes if s.H <= 128]
    wide = [s for s in sizes if s.H >= 32]
    seconds = seconds or (0.5 if quick else 10.0)
    steps = (25, 50, 100) if quick else (100, 200, 400, 800, 1600)
    console = new_console()
    header = environment() | {"cores": os.cpu_count(), "clock": CLOCK}
    print_environment(console, header, verbose=True)
    found: dict[str, list[measures.Row]] = {"speed": []}
    tables = []

    def table(title: str, rows: list[measures.Row]) -> None:
        show(console, title, rows)
        tables.append((title, rows))

    for dtype in ("float64",) if quick else ("float64", "float32"):
        rows = [row for s in sizes for row in measures.speed(s, dtype, seconds)]
        table(f"Speed, {dtype}, one thread; both = forward and backward", rows)
        found["speed"] += rows
    found["packed"] = [row for s in wide for row in measures.packed(s, seconds)]
    table("Packed, lengths spread over 1 … T, against dense; both passes", found["packed"])
    found["linear"] = list(measures.linear(steps, seconds))
    table("Steps, at B 16, I 32, H 32; both passes, ms", found["linear"])
    large = [] if quick else [s for s in wide if s.H >= 128]  # smaller ones fit where imports ran
    found["memory"] = [row for s in large for row in measures.memory(s)]
    table("Peak memory of both passes", found["memory"])
    found["throughput"] = list(throughput(40, 600) if quick else throughput(200, 1500))
    table("Results of check, two workers", found["throughput"])
    table("Targets; speed in float64", measures.targets(found))
    if json is not None:
        write_json(json, {"environment": header} | found)
    if markdown is not None:
        write_text(markdown, page(header, tables))


def numbers(text: str) -> list[int]:
    """The four sizes in "T,B,I,H"; refuses anything else."""
    parts = text.split(",")
    if len(parts) != 4 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"expected T,B,I,H, four whole numbers above 0, got {text!r}")
    return [int(part) for part in parts]


if __name__ == "__main__":
    if SETTINGS.items() <= os.environ.items():
        typer.run(benchmarks)
    else:  # libraries read these once, when they are loaded
        again = [sys.executable, "-m", "benchmarks", *sys.argv[1:]]
        sys.exit(subprocess.run(again, env=os.environ | SETTINGS).returncode)
