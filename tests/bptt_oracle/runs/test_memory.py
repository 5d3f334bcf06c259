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
from pathlib import Path
from bptt_oracle.runs import record
from bptt_oracle.runs.store import FinishedCase
from support.runs import row

def finish_case(case, **options):
    rows = [row()._replace(case=case.id, path=f"path {n}") for n in range(10)]
    return FinishedCase(case.id, rows, [])

record.finish_case = finish_case
plan = record.Plan(int(sys.argv[2]), 0, ["float32"], ["cpu-native"], [])
record.record(Path(sys.argv[1]), plan, {"torch": "2"})
"""


def peak(*command):
    """The largest memory of a process, in MB."""
    environ = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    process = subprocess.Popen([sys.executable, *map(str, command)], env=environ)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in (0, 1)
    return usage.ru_maxrss / 1024


def test_record_takes_as_much_memory_for_ten_times_the_cases(tmp_path):
    few, many = (peak("-c", RECORD, tmp_path / str(n), n) for n in (1500, 15_000))
    assert many < few + 70, "MB; the cache of SQLite has 64"


def test_compare_takes_as_much_memory_for_ten_times_the_results(tmp_path):
    peaks = []
    for n in (30_000, 300_000):
        files = tmp_path / f"old{n}", tmp_path / f"new{n}"
        for file, new in zip(files, (False, True), strict=True):
            make(file, n, new)
        reports = ["--json", tmp_path / "c", "--junit", tmp_path / "j"]
        peaks.append(peak("-m", "bptt_oracle", "compare", *files, "-q", *reports))
    assert peaks[1] < peaks[0] + 70, "MB; the caches of SQLite have 64"
