"""The benchmark of inspection: it runs, and recording costs more than nothing."""

import numpy as np
import pytest
from torch import nn

from benchmarks.inspection import measure


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_ratio_is_measured(kind):
    step, norms, nonfinite = measure(kind, 20, 16, rounds=3)
    assert step > 0 and norms > 1 and nonfinite > 1 and np.isfinite([step, norms, nonfinite]).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_recording_costs_less_than_four_training_steps(kind):
    """The page states at most 2.5; other programs on the machine move the ratio."""
    assert measure(kind, 100, 128, rounds=5)[1] < 4
