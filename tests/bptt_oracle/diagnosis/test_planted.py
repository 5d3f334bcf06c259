"""Every mistake of the list, planted by other means, is named; and no other is."""

from collections import Counter

import pytest

from bptt_oracle.diagnosis.mistakes import mistakes
from bptt_oracle.diagnosis.precision import LOWER_PRECISIONS, NEAR_ZERO, SMALL_SIGMA
from support.diagnosis_table import BEGIN, END, PAGE, outcome, read_lines, table, tasks
from support.planted_mistakes import plants

EVERY = 211  # a prime, so that all cells, dtypes and kinds are among them
PARTS = 16


def judge(chosen):
    """The words and the sentences of some diagnoses; a wrong name or a "right" fails at once."""
    words = []
    for task in chosen:
        word, diagnosis = outcome(task)
        where = (task.plant.name, task.plant.engine, task.cell, task.dtype, diagnosis)
        assert word not in ("wrong name", "no mistake"), where
        words.append(word)
    return words


@pytest.mark.slow
def test_some_planted_mistakes_are_named():
    words = judge(tasks()[::EVERY])
    assert words.count("named") >= 0.95 * len(words)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_planted_mistakes_are_named(part, request):
    if request.config.getoption("--hypothesis-profile") != "nightly":
        pytest.skip("all planted mistakes take 20 minutes: run with --hypothesis-profile=nightly")
    words = judge(tasks()[part::PARTS])
    assert words.count("named") >= 0.95 * len(words)


def test_every_planted_name_is_in_the_list():
    named = {mistake.name for mistake in mistakes()} | {*LOWER_PRECISIONS, NEAR_ZERO, SMALL_SIGMA}
    assert {plant.name for plant in plants()} <= named


def test_nearly_every_mistake_of_the_list_is_planted():
    planted = {plant.name for plant in plants()}
    missing = {mistake.name for mistake in mistakes()} - planted
    assert len(missing) <= 0.05 * len(mistakes()), missing


@pytest.mark.parametrize("cell, count", [("GRU", 5), ("LSTM", 23)])
def test_all_gate_orders_are_planted_in_numpy_and_in_torch(cell, count):
    for engine in ("numpy", "torch"):
        names = {
            plant.name
            for plant in plants()
            if plant.engine == engine
            and cell in plant.cells
            and plant.name.startswith("gate order ")
            and not plant.name.startswith("gate order of ")
        }
        assert len(names) == count


def test_the_page_has_the_table_of_all_diagnoses():
    lines = read_lines()
    page = PAGE.read_text(encoding="utf-8")
    assert page.split(BEGIN)[1].split(END)[0].strip() == table(lines).strip()
    made = Counter(tuple(line[:4]) for line in lines)
    assert made == Counter((t.plant.name, t.plant.engine, t.cell, t.dtype) for t in tasks())
    words = Counter(line[4] for line in lines)
    assert words["named"] >= 0.95 * len(lines)
    assert words["wrong name"] == words["no mistake"] == 0
