"""Rounding to a tested dtype, without torch and as torch does it."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bptt_oracle.cases.case import draw
from support.drawn_cases import cases
from torch_impl.execution.dtypes import DTYPES, array_of
from torch_impl.execution.precision import UNIT_ROUNDOFF, stored


@given(cases(), st.sampled_from(list(DTYPES)))
def test_storing_rounds_as_torch_does_and_storing_again_changes_nothing(case, dtype):
    x = draw(case).x
    once = stored(x, dtype)
    assert np.array_equal(stored(once.astype(np.float64), dtype), once)
    assert np.array_equal(array_of(torch.from_numpy(once).to(DTYPES[dtype])), once)
    # except for numbers too small for the dtype, the change is at most one unit roundoff
    big = np.abs(x) > 1e-4
    assert np.all(np.abs(once - x)[big] <= UNIT_ROUNDOFF[dtype] * np.abs(x)[big])


def floats_of_every_kind():
    """Random bits of float64 and float32, ties of bfloat16 and their neighbours, and edges."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 50_000, dtype=np.uint32)
    ties = (bits & np.uint32(0xFFFF0000)) | np.uint32(0x8000)  # halfway between two bfloat16
    with np.errstate(invalid="ignore"):
        single, halfway = (v.view(np.float32).astype(np.float64) for v in (bits, ties))
    edges = [0.0, 1.0, np.inf, np.nan, 5e-324, 2.0**-133, 2.0**-134, 2.0**-149, 2.0**-150, 1e300]
    largest = (2 - 2.0**-7) * 2.0**127  # of bfloat16; what lies above half a step more overflows
    edges += [largest, largest + 2.0**119, np.nextafter(largest + 2.0**119, 0), 3.4e38]
    return np.concatenate(
        [
            rng.integers(0, 2**64, 50_000, dtype=np.uint64).view(np.float64),
            single,
            halfway,
            np.nextafter(halfway, np.inf),  # rounded to float32 these are ties
            np.nextafter(halfway, -np.inf),
            rng.standard_normal(50_000) * 2.0**-130,
            edges,
            np.negative(edges),
        ]
    )


def test_bfloat16_without_torch_is_torch_s_bit_for_bit():
    """Of a NaN only that it is one: its bits differ within torch, by processor and position."""
    values = floats_of_every_kind()
    assert len(values) > 250_000
    mine = stored(values, "bfloat16")
    torch_s = torch.from_numpy(values).to(torch.bfloat16).to(torch.float32).numpy()
    assert np.array_equal(np.isnan(mine), np.isnan(values))
    assert np.array_equal(np.isnan(torch_s), np.isnan(values))
    numbers = ~np.isnan(values)
    assert np.array_equal(mine[numbers].view(np.uint32), torch_s[numbers].view(np.uint32))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (2, 3, 4)])
def test_bfloat16_keeps_the_shape_and_the_order_in_memory(shape):
    value = np.random.default_rng(0).standard_normal(shape).T
    mine = stored(value, "bfloat16")
    torch_s = torch.from_numpy(value).to(torch.bfloat16).to(torch.float32).numpy()
    assert isinstance(mine, np.ndarray) and mine.dtype == np.float32
    assert (mine.shape, mine.tobytes("A")) == (torch_s.shape, torch_s.tobytes("A"))


def test_precision_problem_and_path_import_no_torch():
    """They import where torch is missing, so that judging needs none."""
    names = ", ".join(f"torch_impl.execution.{name}" for name in ("precision", "problem", "path"))
    program = f"import sys; sys.modules['torch'] = None; import {names}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
