"""Every recipe of CONTRIBUTING.md works as printed, in a copy of the repository."""

import pytest

from support.contributing import copy_of_the_repository, follow, recipes, steps

RECIPES = {title: steps for title, steps in recipes().items() if steps}


def test_there_are_recipes():
    assert set(RECIPES) >= {"Add a claim", "Add an execution path", "Add a planted fault"}
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


def test_a_block_that_no_step_explains_is_an_error():
    with pytest.raises(ValueError, match="no step explains"):
        steps("Consider:\n\n```python\nx = 1\n```\n")
