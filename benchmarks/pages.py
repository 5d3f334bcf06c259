"""The price of fresh memory: both passes under three settings of the allocator.

    kept         glibc keeps freed memory, as in the other tables
    default      large arrays are fresh pages in every run; NumPy asks for huge ones (2 MB)
    small pages  the same, with NUMPY_MADVISE_HUGEPAGE=0

The kernel sets a fresh page to zero, and may have to move other pages to make room for a huge one.
Both count as system time. Each setting is measured in a process of its own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

from .clock import PROCESSOR, WALL, median_ratio, run, time_rounds
from .contestants import GATES, Contestant, Size, draw, reference_net, torch_net
from .memory import MALLOC

CHANGES: dict[str, dict[str, str]] = {
    "kept": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1000000000000"},
    "default": {},
    "small pages": {"NUMPY_MADVISE_HUGEPAGE": "0"},
}
RUNS = 3  # of each contestant, for the system time


def measure_pages(size: Size, seconds: float) -> Iterable[dict[str, Any]]:
    """One row for each cell and setting, float64."""
    inherited = {name: value for name, value in os.environ.items() if name not in MALLOC}
    command = [sys.executable, "-m", "benchmarks.pages", json.dumps([size, seconds])]
    measured: dict[str, Any] = {}
    for setting, changes in CHANGES.items():
        process = subprocess.run(
            command, env=inherited | changes, capture_output=True, text=True, check=True
        )
        measured[setting] = json.loads(process.stdout)
    for cell in GATES:
        for setting, rows in measured.items():
            yield {"size": tuple(size), "cell": cell, "memory": setting} | rows[cell]


def system_ms(contestant: Contestant) -> float:
    """Milliseconds that one run of both passes spends in the kernel."""
    start = os.times().system
    for _ in range(RUNS):
        run(contestant)
    return 1e3 * (os.times().system - start) / RUNS


def measure_here(cell: str, size: Size, seconds: float) -> dict[str, float]:
    """The measurements of one cell under the settings of this process."""
    workload = draw(cell, size)
    contestants = [reference_net(workload), torch_net(workload)]
    times = time_rounds(contestants, seconds)
    ratio = median_ratio(times, 0, 1)[:, 1]
    return {
        "ours system ms": system_ms(contestants[0]),
        "torch system ms": system_ms(contestants[1]),
        "ours / torch": ratio[PROCESSOR],
        "wall, ours / torch": ratio[WALL],
    }


def main() -> None:
    """Print the measurements of all cells."""
    import torch

    torch.set_num_threads(1)
    size, seconds = json.loads(sys.argv[1])
    print(json.dumps({cell: measure_here(cell, Size(*size), seconds) for cell in GATES}))


if __name__ == "__main__":
    main()
