"""The memory of record and compare does not depend on the number of cases."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.runs import make

ROOT = Path(__file__).parents[3]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the usage is that of Linux"),
]
RECORD = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from benchmarks.memory import peak_memory
from bptt_oracle.runs import record
from support.runs import finish_case, finish_chunk

record.finish_case, record.finish_chunk = finish_case, finish_chunk
plan = record.Plan(int(sys.argv[2]), 0, ["float32"], ["cpu-native"], [])
with ThreadPoolExecutor(2) as pool:
    executor = pool if sys.argv[3] == "executor" else None
    workers = 1 if sys.argv[3] == "here" else 2
    record.record(Path(sys.argv[1]), plan, {"torch": "2"}, workers, executor=executor)
print(peak_memory())
"""
COMPARE = """
from bptt_oracle.__main__ import main
from benchmarks.memory import peak_memory

try:
    main()
finally:
    print(peak_memory())
"""


def peak(*command):
    """The largest memory of a process, in MB, which its program prints at the end."""
    environ = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    words = [sys.executable, "-c", *map(str, command)]
    ran = subprocess.run(words, env=environ, capture_output=True, text=True)
    assert ran.returncode in (0, 1), ran.stderr
    return float(ran.stdout.split()[-1])


@pytest.mark.parametrize("where", ["here", "workers", "executor"])
def test_record_takes_as_much_memory_for_ten_times_the_cases(tmp_path, where):
    few, many = (peak(RECORD, tmp_path / str(n), n, where) for n in (1500, 15_000))
    assert many < few + 70, "MB; the cache of SQLite has 64"


def test_compare_takes_as_much_memory_for_ten_times_the_results(tmp_path):
    peaks = []
    for n in (30_000, 300_000):
        files = tmp_path / f"old{n}", tmp_path / f"new{n}"
        for file, new in zip(files, (False, True), strict=True):
            make(file, n, new)
        reports = ["--json", tmp_path / "c", "--junit", tmp_path / "j"]
        peaks.append(peak(COMPARE, "compare", *files, "-q", *reports))
    assert peaks[1] < peaks[0] + 70, "MB; the caches of SQLite have 64"
