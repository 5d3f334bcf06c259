"""Planted mistakes of optimisers are detected."""

import pytest

from support.optimizer_faults import names, plant_in_cases


@pytest.mark.parametrize("name", names())
def test_a_planted_mistake_is_detected_wherever_it_shows(name):
    kill = plant_in_cases(name, 6)
    assert kill.planted >= 6, "the mistake shows in too few cases"
    assert kill.detected == kill.planted, (kill.symptom, kill)


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_a_planted_mistake_is_detected_in_many_cases(name):
    kill = plant_in_cases(name, 40, seed=1)
    assert kill.detected == kill.planted, (kill.symptom, kill)
