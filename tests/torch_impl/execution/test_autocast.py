"""torch.nn's cells under autocast: products in a lower dtype, all else in float32 or rounded to it.

The paths `cpu-autocast-…` judge whole nets; a loop of cells calls other kernels.
"""

import pytest

from bptt_oracle.cases.corpus import corpus
from bptt_oracle.implementations.torch_paths import torch_implementation
from bptt_oracle.runs.examine import examine
from support.drawn_cases import pinned
from torch_impl.execution.path import NATIVE, Path

DTYPES = ("bfloat16", "float16")


def cells_under_autocast(dtype):
    path = Path(f"cells in {dtype}", "cpu", "cells", NATIVE, False, f"autocast-{dtype}")
    return torch_implementation(path)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cells_under_autocast_agree_with_truth(dtype, record_cases):
    cells = cells_under_autocast(dtype)
    results = [r for case in corpus(24) for r in examine(case, "float32", [cells])]
    assert {r.verdict for r in results} <= {"agree", "excluded", "untrusted"}, [
        r for r in results if r.verdict == "fault"
    ]
    agreed = [r for r in results if r.verdict == "agree"]
    record_cases(cells.name, len(agreed))
    assert len(agreed) >= 8
    assert {r.case.split(".")[0] for r in agreed} >= {"RNN_TANH", "GRU", "LSTM"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", ["RNN_TANH", "GRU", "LSTM"])
def test_their_products_are_lower_than_float32_and_not_lower_than_the_dtype(cell, dtype):
    case = pinned(cell=cell, cotangents=("output", "h_n"))
    cells = cells_under_autocast(dtype)
    as_float32 = cells._replace(precision=lambda dtype: dtype)
    right, wrong = examine(case, "float32", [cells, as_float32])
    assert right.verdict == "agree"
    assert wrong.verdict == "fault" and wrong.R > 100
