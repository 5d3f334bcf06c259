"""Peak memory of forward and backward, each in a process of its own.

A process imports, runs a tiny workload and draws the real one. The growth of its peak resident size
while the real one runs is the memory of the passes: tape, outputs and gradients. Memory that the
imports have used and freed hides a few MB of it, for each contestant alike.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

MALLOC = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


def measure_peak(contestant: str, cell: str, size: Sequence[int], dtype: str) -> float:
    """MB that a contestant needs, given by name; nan if the system cannot report it."""
    environment = {name: v for name, v in os.environ.items() if name not in MALLOC}
    command = [
        sys.executable,
        "-m",
        "benchmarks.memory",
        json.dumps([contestant, cell, size, dtype]),
    ]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(process.stdout)


def peak_memory() -> float:
    """The peak resident size of this process until now, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux's getrusage starts with the peak of the parent process
        return float(re.findall(r"VmHWM:\s*(\d+) kB", status.read_text())[0]) / 2**10
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main() -> None:
    """Print by how many MB the workload raises the peak of this process."""
    from . import contestants
    from .clock import run

    name, cell, size, dtype = json.loads(sys.argv[1])
    make = getattr(contestants, name)
    run(make(contestants.draw(cell, contestants.Size(2, 2, 2, 2), dtype)))
    contestant = make(contestants.draw(cell, contestants.Size(*size), dtype))
    before = peak_memory()
    outcome = contestant.forward()
    gradients = contestant.backward(outcome)
    print(peak_memory() - before)
    del outcome, gradients  # they must exist when the peak is read


if __name__ == "__main__":
    main()
