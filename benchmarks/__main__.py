"""The command line: `python -m benchmarks`."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

LIBRARIES = ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB_MAXIMUM", "NUMEXPR")
SETTINGS = {f"{library}_NUM_THREADS": "1" for library in LIBRARIES} | {
    # glibc keeps freed memory, because the cost of fresh pages varies widely between runs
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "1000000000000",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",  # one thread for JAX
}
SIZES = ["5,3,4,4", "50,16,32,32", "100,32,128,128", "100,64,256,512"]


def benchmarks(
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="T,B,I,H", help="Steps, batch, input, hidden; may be repeated."),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Take less than a minute: H up to 128, float64 only, few rounds."
        ),
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Duration of each comparison; 10 by default, 0.5 with --quick."
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Also write every row to this file.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Also write the tables to this Markdown file.")
    ] = None,
) -> None:
    """Measure time and memory of the reference, against torch and against bare matrix products."""
    import torch

    from bptt_oracle.reports.check_tables import print_environment
    from bptt_oracle.reports.console import new_console
    from bptt_oracle.runs.environment import environment
    from bptt_oracle.runs.files import write_json, write_text

    from . import measures
    from .clock import CLOCK
    from .contestants import Size
    from .pages import measure_pages
    from .peers import versions
    from .tables import print_table, to_markdown
    from .throughput import measure_throughput

    torch.set_num_threads(1)
    sizes = [Size(*parse_size(text)) for text in size or SIZES]
    if quick:
        sizes = [s for s in sizes if s.H <= 128]
    wide = [s for s in sizes if s.H >= 32]
    seconds = seconds or (0.5 if quick else 10.0)
    steps = (25, 50, 100) if quick else (100, 200, 400, 800, 1600)
    console = new_console()
    header = environment() | {"cores": os.cpu_count(), "clock": CLOCK} | versions()
    print_environment(console, header, verbose=True)
    results: dict[str, list[measures.Measurement]] = {"speed": []}
    tables = []

    def add_table(title: str, rows: list[measures.Measurement]) -> None:
        print_table(console, title, rows)
        tables.append((title, rows))

    for dtype in ("float64",) if quick else ("float64", "float32"):
        rows = [row for s in sizes for row in measures.measure_speed(s, dtype, seconds)]
        add_table(
            f"Speed, {dtype}, one thread; both = forward and backward",
            [{k: v for k, v in row.items() if k not in measures.WALL_COLUMNS} for row in rows],
        )
        results["speed"] += rows
    columns = ("size", "cell", "dtype", "both ms", "both / torch", *measures.WALL_COLUMNS)
    add_table(
        "Both passes on both clocks, processor and wall",
        [{column: row[column] for column in columns} for row in results["speed"]],
    )
    results["peers"] = [row for s in sizes for row in measures.measure_peers(s, seconds)]
    add_table("Other libraries, float64; both passes", results["peers"])
    results["packed"] = [row for s in wide for row in measures.measure_packed(s, seconds)]
    add_table("Packed, lengths spread over 1 … T, against dense; both passes", results["packed"])
    results["linear"] = list(measures.measure_linear(steps, seconds))
    add_table("Steps, at B 16, I 32, H 32; both passes, ms", results["linear"])
    # smaller sizes fit into memory that the imports have freed
    large = [] if quick else [s for s in wide if s.H >= 128]
    results["memory"] = [row for s in large for row in measures.measure_memory(s)]
    add_table("Peak memory of both passes", results["memory"])
    results["pages"] = [row for s in large[-1:] for row in measure_pages(s, seconds)]
    add_table("Fresh memory; both passes, float64", results["pages"])
    results["throughput"] = list(
        measure_throughput(40, 600) if quick else measure_throughput(200, 1500)
    )
    add_table("Results of check, two workers", results["throughput"])
    add_table("Targets; speed in float64", measures.compare_with_targets(results))
    if json is not None:
        write_json(json, {"environment": header} | results)
    if markdown is not None:
        write_text(markdown, to_markdown(header, tables))


def parse_size(text: str) -> list[int]:
    """The four sizes in "T,B,I,H". Raises BadParameter for anything else."""
    parts = text.split(",")
    if len(parts) != 4 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"got {text!r}, expected T,B,I,H, four whole numbers above 0")
    return [int(part) for part in parts]


if __name__ == "__main__":
    if SETTINGS.items() <= os.environ.items():
        typer.run(benchmarks)
    else:  # the libraries read the variables only when they are loaded
        command = [sys.executable, "-m", "benchmarks", *sys.argv[1:]]
        sys.exit(subprocess.run(command, env=os.environ | SETTINGS).returncode)
