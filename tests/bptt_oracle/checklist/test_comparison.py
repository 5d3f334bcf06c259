"""What counts as a difference, and what cannot be compared."""

import math

import pytest
import torch

from bptt_oracle.checklist.comparison import change, difference, require_numbers, rounding
from support.calculus import rejects


@pytest.mark.parametrize(
    ("dtype", "bound"),
    [
        (torch.float64, 1000 * 2.0**-52),
        (torch.float32, 1000 * 2.0**-23),
        (torch.float16, 16 * 2.0**-10),
        (torch.bfloat16, 16 * 2.0**-7),
    ],
)
def test_the_bound_is_that_of_the_dtype_times_the_largest_finite_number(dtype, bound):
    value = torch.tensor([-2.0, 1.0, -torch.inf, torch.inf], dtype=dtype)
    assert rounding(value) == 2 * bound
    assert rounding(value.float(), 2.0**-7) == 2 * 16 * 2.0**-7  # computed in bfloat16


def test_an_infinity_does_not_hide_a_difference():
    expected = torch.tensor([1.0, -torch.inf])
    assert difference(torch.tensor([1.5, -torch.inf]), expected) == 0.5
    assert difference(expected, expected) == 0
    assert difference(torch.tensor([1.0, torch.inf]), expected) == math.inf
    assert difference(torch.tensor([1.0, 9.0]), expected) == math.inf


def test_integers_count_the_elements_that_differ():
    assert difference(torch.tensor([1, 2, 3]), torch.tensor([1, 0, 0])) == 2


def test_the_same_computation_must_be_equal_to_the_bit_or_clearly_different():
    a = torch.ones(3)
    assert change(a, a) == 0
    assert change(a + 0.5, a) == 0.5
    rejects(ValueError, "which rounding may cause", change, a * (1 + 2.0**-22), a)


@pytest.mark.parametrize("bad", [torch.tensor([1.0, torch.nan]), torch.tensor([-torch.inf])])
def test_nan_and_nothing_finite_are_rejected(bad):
    rejects(ValueError, "Expected finite numbers from it", require_numbers, [bad], "it")
    require_numbers([torch.tensor([1.0, -torch.inf]), torch.tensor([1])], "it")
