"""Work that ends its process, workers that are killed, and errors that no torch caused."""

import errno
import os
import signal
import sys
from multiprocessing import get_all_start_methods, parent_process
from pathlib import Path

import pytest

from bptt_oracle.processes.failures import Crash, lacks_resources
from bptt_oracle.processes.workers import map_unordered, run_isolated

pytestmark = pytest.mark.skipif(
    "forkserver" not in get_all_start_methods(), reason="Windows has no signals for processes"
)
ENDINGS = {3: "SEGV", 5: "KILL", 7: "ABRT", 9: "status 1"}


def square(n):
    """n², except where ENDINGS lists how the process ends."""
    if n == 9:
        os._exit(1)
    if n in ENDINGS:
        os.kill(os.getpid(), getattr(signal, f"SIG{ENDINGS[n]}"))
    return n * n


def test_an_item_that_ends_its_process_is_found_and_the_rest_goes_on():
    found = sorted(map_unordered(square, range(12), 2, lambda n, crash: (n, crash.killed)), key=str)
    crashes = [(n, ending == "KILL") for n, ending in ENDINGS.items()]
    assert found == sorted([n * n for n in range(12) if n not in ENDINGS] + crashes, key=str)


@pytest.mark.parametrize("n", ENDINGS)
def test_how_a_process_ended_is_reported(n):
    with pytest.raises(Crash, match=f"its process .*{ENDINGS[n]}$"):
        run_isolated(square, n)
    with pytest.raises(Crash, match=ENDINGS[n]):
        list(map_unordered(square, [1, n], 2))


def die_once(marks_and_n):
    """n; the first process that gets n = 2 kills what the folder of marks names."""
    marks, victim, n = marks_and_n
    if n == 2 and not (Path(marks) / "done").exists():
        (Path(marks) / "done").touch()
        os.kill(os.getpid() if victim == "worker" else os.getppid(), signal.SIGKILL)
    return n


@pytest.mark.parametrize("victim", ["worker", "forkserver"])
def test_a_killed_worker_or_forkserver_costs_no_result(tmp_path, victim):
    items = [(str(tmp_path), victim, n) for n in range(8)]
    assert sorted(map_unordered(die_once, items, 2)) == list(range(8))


def fail(n):
    raise KeyError(n)


def test_an_exception_of_an_isolated_item_is_raised_here():
    with pytest.raises(KeyError, match="7"):
        run_isolated(fail, 7)


def prints(_):
    print("noise", file=sys.stderr)
    return parent_process() is not None


def test_an_isolated_item_runs_in_another_process(capfd):
    assert run_isolated(prints, 0) and capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "error, lacking",
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (RuntimeError("CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("std::bad_alloc"), True),
        (type("OutOfMemoryError", (RuntimeError,), {})("no words"), True),
        (OSError(errno.EMFILE, "Too many open files"), True),
        (OSError(errno.ENOENT, "No such file"), False),
        (RuntimeError("could not create a primitive descriptor"), False),
        (ValueError("out of memory"), False),
        (ImportError("libtorch.so: failed to map segment from shared object"), True),
        (ImportError("no module named x"), False),
    ],
    ids=str,
)
def test_a_lack_of_resources_is_distinguished_from_a_fault(error, lacking):
    assert lacks_resources(error) == lacking
