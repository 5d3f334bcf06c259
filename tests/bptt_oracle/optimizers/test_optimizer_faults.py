"""Planted mistakes of optimisers are detected."""

import pytest

from support.optimizer_faults import names, plant_in_cases


@pytest.mark.parametrize("name", names())
def test_a_planted_mistake_is_detected_wherever_it_shows(name):
    kill = plant_in_cases(name, 4)
    assert kill.planted, "the mistake shows in no case"
    assert kill.detected == kill.planted, (kill.symptom, kill)


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_a_planted_mistake_is_detected_in_many_cases(name):
    kill = plant_in_cases(name, 20, seed=1)
    assert kill.detected == kill.planted, (kill.symptom, kill)
