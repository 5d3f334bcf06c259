"""Worker processes: their modules and threads, and Ctrl-C before they exist."""

import os
import signal
import subprocess
import sys
from multiprocessing import get_all_start_methods
from pathlib import Path

import pytest
import torch

from bptt_oracle.processes.interrupt import terminate_on_interrupt

HERE = Path(__file__).parent


def run_python(program, **variables):
    """Standard output of a program in a new process, which has not yet started any workers."""
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[2])} | variables
    return subprocess.check_output(
        [sys.executable, "-c", program], cwd=HERE, env=environment, text=True
    )


FIRST_GRADIENT = """
from bptt_oracle.processes.workers import map_unordered
from test_workers import imported_by_a_gradient
print(*map_unordered(imported_by_a_gradient, range(2), 2))
"""


def imported_by_a_gradient(_):
    before, x = set(sys.modules), torch.ones(2, requires_grad=True)
    torch.autograd.grad([2 * x], [x], [torch.ones(2)])
    return sorted(set(sys.modules) - before)


@pytest.mark.slow
@pytest.mark.skipif("forkserver" not in get_all_start_methods(), reason="Windows cannot fork")
def test_a_worker_has_what_torch_imports_at_its_first_gradient():
    assert run_python(FIRST_GRADIENT) == "[] []\n"


def blas_threads(_=None):
    """The threads that torch may use, and then those of each BLAS in this process."""
    import numpy  # noqa: F401
    from threadpoolctl import threadpool_info

    blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return [torch.get_num_threads(), *blas]


LIMITED = """
from test_workers import blas_threads
from bptt_oracle.processes.workers import limit_threads, map_unordered
print(blas_threads())
limit_threads()
print(blas_threads())
print(*map_unordered(blas_threads, range(1), 2))
"""


@pytest.mark.slow
def test_torch_and_every_blas_run_on_one_thread_in_the_main_process_and_in_a_worker():
    """The variables ask for two threads, as a user or a machine with two processors does; OpenBLAS
    reads its own variable first."""
    two = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    before, limited, worker = map(eval, run_python(LIMITED, **two).splitlines())
    assert len(before) >= 2, "no BLAS was found"
    assert limited == worker == [1] * len(before)
    if (os.cpu_count() or 1) > 1:
        assert before != limited


INTERRUPTED = """
import os, signal
from bptt_oracle.processes.interrupt import terminate_on_interrupt

class Interrupting:
    def __set_name__(self, owner, name):  # Python 3.11 turns its exceptions into a RuntimeError
        os.kill(os.getpid(), signal.SIGINT)

with terminate_on_interrupt():
    class Owner:
        attribute = Interrupting()
print("went on", signal.getsignal(signal.SIGINT).name)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C in another way")
@pytest.mark.parametrize(
    "handler, expected",
    [
        (signal.default_int_handler, (-signal.SIGINT, "", "")),
        (signal.SIG_IGN, (0, "went on SIG_IGN\n", "")),  # the handler of a background job
    ],
)
def test_ctrl_c_during_an_import_ends_the_process_without_a_traceback(handler, expected):
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[2])}
    before = signal.signal(signal.SIGINT, handler)
    try:
        ran = subprocess.run(
            [sys.executable, "-c", INTERRUPTED], env=environment, capture_output=True, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert (ran.returncode, ran.stdout, ran.stderr) == expected


def test_ctrl_c_raises_again_after_the_imports():
    before = signal.getsignal(signal.SIGINT)
    with terminate_on_interrupt():
        pass
    assert signal.getsignal(signal.SIGINT) is before
