"""Worker processes: what they have when they begin."""

import os
import subprocess
import sys
from multiprocessing import get_all_start_methods
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
ASK = """
from harness.workers import spread
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
