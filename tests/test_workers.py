"""Worker processes: what they have when they begin."""

import sys
from multiprocessing import get_all_start_methods

import pytest
import torch

from harness.workers import spread


def imported_by_a_gradient(_):
    x, before = torch.ones(2, requires_grad=True), set(sys.modules)
    torch.autograd.grad([2 * x], [x], [torch.ones(2)])
    return set(sys.modules) - before


@pytest.mark.slow
@pytest.mark.skipif("forkserver" not in get_all_start_methods(), reason="Windows forks nothing")
def test_a_worker_has_what_torch_imports_at_its_first_gradient():
    assert list(spread(imported_by_a_gradient, range(2), 2)) == [set(), set()]
