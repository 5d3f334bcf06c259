"""Medians of more numbers than fit into memory."""

import numpy as np
import pytest

from bptt_oracle.runs.closeness import Distances


@pytest.mark.parametrize("size", [1, 2, 3, 1000, 1001])
def test_the_medians_are_those_of_numpy_to_one_part_in_32768(size):
    rng = np.random.default_rng(size)
    old, new = np.exp(rng.normal(size=(2, size)) * 3)
    distances = Distances()
    for part in np.array_split(np.arange(size), 3):
        distances.add(old[part], new[part])
    found = distances.closeness()
    assert found[:3] == (size, np.sum(old < new), np.sum(new < old))
    assert found.median_old == pytest.approx(np.median(old), rel=1 / 32768)
    assert found.median_new == pytest.approx(np.median(new), rel=1 / 32768)


def test_infinite_zero_and_huge_numbers_are_counted():
    distances = Distances()
    distances.add(np.array([0.0, np.inf, 1e300]), np.array([0.0, 0.0, 0.5]))
    found = distances.closeness()
    assert found == (3, 0, 2, np.inf, 0.0)
    assert Distances().closeness() == (0, 0, 0, None, None)
