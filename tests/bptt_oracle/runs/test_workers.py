"""Worker processes: what they have when they begin, and Ctrl-C before there are any."""

import os
import signal
import subprocess
import sys
from multiprocessing import get_all_start_methods
from pathlib import Path

import pytest
import torch

from bptt_oracle.runs.interrupt import ctrl_c_ends_all

HERE = Path(__file__).parent
ASK = """
from bptt_oracle.runs.workers import spread
from test_workers import imported_by_a_gradient
print(*spread(imported_by_a_gradient, range(2), 2))
"""


def imported_by_a_gradient(_):
    before, x = set(sys.modules), torch.ones(2, requires_grad=True)
    torch.autograd.grad([2 * x], [x], [torch.ones(2)])
    return sorted(set(sys.modules) - before)


@pytest.mark.slow
@pytest.mark.skipif("forkserver" not in get_all_start_methods(), reason="Windows forks nothing")
def test_a_worker_has_what_torch_imports_at_its_first_gradient():
    """Asked of a new process: what this one's workers are forked from may have begun elsewhere."""
    around = os.environ | {"PYTHONPATH": str(HERE.parent)}
    told = subprocess.check_output([sys.executable, "-c", ASK], cwd=HERE, env=around, text=True)
    assert told == "[] []\n"


INTERRUPTED = """
import os, signal
from bptt_oracle.runs.interrupt import ctrl_c_ends_all

class Meddler:
    def __set_name__(self, owner, name):  # what it raises, Python 3.11 makes a RuntimeError of
        os.kill(os.getpid(), signal.SIGINT)

with ctrl_c_ends_all():
    class Owner:
        meddler = Meddler()
print("went on", signal.getsignal(signal.SIGINT).name)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent otherwise on Windows")
@pytest.mark.parametrize(
    "handler, ended",
    [
        (signal.default_int_handler, (-signal.SIGINT, "", "")),
        (signal.SIG_IGN, (0, "went on SIG_IGN\n", "")),  # as a job in the background has it
    ],
)
def test_ctrl_c_during_an_import_ends_the_process_without_a_word(handler, ended):
    around = os.environ | {"PYTHONPATH": str(HERE.parent)}
    heard = signal.signal(signal.SIGINT, handler)
    try:
        ran = subprocess.run(
            [sys.executable, "-c", INTERRUPTED], env=around, capture_output=True, text=True
        )
    finally:
        signal.signal(signal.SIGINT, heard)
    assert (ran.returncode, ran.stdout, ran.stderr) == ended


def test_ctrl_c_is_heard_again_after_the_imports():
    heard = signal.getsignal(signal.SIGINT)
    with ctrl_c_ends_all():
        pass
    assert signal.getsignal(signal.SIGINT) is heard
