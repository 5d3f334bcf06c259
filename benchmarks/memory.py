"""Peak memory of forward and backward, each in a process of its own.

A process imports, draws the problem and runs a tiny one; then the largest resident size that
running the problem adds is what the passes needed, tape, outputs and gradients included. Memory
that the imports had touched and given back hides up to some MB of it, on either side alike.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

MALLOC = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


def peak(who: str, cell: str, size: Any, dtype: str) -> float:
    """MB that `who`, ours or theirs, adds; nan where the system does not tell."""
    environment = {name: v for name, v in os.environ.items() if name not in MALLOC}
    command = [sys.executable, "-m", "benchmarks.memory", json.dumps([who, cell, size, dtype])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def largest() -> float:
    """The largest resident size of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux's getrusage starts from the peak of the process that started us
        return float(re.findall(r"VmHWM:\s*(\d+) kB", status.read_text())[0]) / 2**10
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main() -> None:
    """What one process does: print its own peak."""
    from . import contestants
    from .clock import run

    who, cell, size, dtype = json.loads(sys.argv[1])
    contestant = getattr(contestants, who)
    run(contestant(contestants.draw(cell, contestants.Size(2, 2, 2, 2), dtype)))
    once = contestant(contestants.draw(cell, contestants.Size(*size), dtype))
    before = largest()
    made = once.forward()
    kept = once.backward(made)
    print(largest() - before)
    del made, kept


if __name__ == "__main__":
    main()
