"""Every recipe of CONTRIBUTING.md works as printed, in a copy of the repository."""

import re

import pytest

from support.contributing import copy_of_the_repository, follow, recipes, run, steps

RECIPES = recipes()


def test_there_are_recipes():
    assert set(RECIPES) == {
        "Add a claim",
        "Add an execution path",
        "Add a planted fault",
        "Add a cell",
        "Add an implementation",
    }
    for recipe in RECIPES.values():
        assert any(step.file for step in recipe) and any(not step.file for step in recipe)


@pytest.mark.slow
@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_works_as_printed(title, tmp_path):
    copy = copy_of_the_repository(tmp_path)
    for step in RECIPES[title]:
        follow(step, copy)


@pytest.mark.slow
@pytest.mark.parametrize("title", RECIPES)
def test_the_commands_of_a_recipe_fail_without_its_changes(title, tmp_path):
    copy = copy_of_the_repository(tmp_path)
    with pytest.raises(AssertionError):
        for step in RECIPES[title]:
            if not step.file:
                follow(step, copy)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("title", "file", "line", "mistake", "command"),
    [
        ("Add a cell", "reference/cells/leaky.py", "(1 - LEAK) * total.h", "total.h", "replay"),
        ("Add a cell", "reference/cells/leaky.py", "y * tape.y", "y", "test_leaky"),
        ("Add a cell", "torch_impl/cells/leaky.py", "0.75", "0.7501", "replay"),
        ("Add an implementation", "my_lstm.py", "np.tanh(g)", "np.tanh(g + 1e-14)", "my_lstm"),
    ],
)
def test_a_mistake_in_what_a_recipe_adds_is_detected(title, file, line, mistake, command, tmp_path):
    """The command of the recipe that contains `command` fails after `line` became `mistake`."""
    copy = copy_of_the_repository(tmp_path)
    for step in RECIPES[title]:
        if step.file:
            follow(step, copy)
    text = (copy / file).read_text()
    assert text.count(line) == 1
    (copy / file).write_text(text.replace(line, mistake))
    lines = [line for step in RECIPES[title] if not step.file for line in step.text.splitlines()]
    (chosen,) = [line for line in lines if re.search(rf"\b{command}\b", line)]
    with pytest.raises(AssertionError, match="fault|⟨ȳ, J u⟩"):
        run(chosen, copy)


def test_a_block_that_no_step_explains_is_an_error():
    with pytest.raises(ValueError, match="no step explains"):
        steps("Consider:\n\n```python\nx = 1\n```\n")
