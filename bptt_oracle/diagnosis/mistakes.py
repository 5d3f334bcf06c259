"""The list of all mistakes that are known by name."""

from functools import cache

from .mistake import Mistake
from .mistakes_in_gradients import gradient_mistakes
from .mistakes_in_parameters import parameter_mistakes
from .mistakes_in_sequences import sequence_mistakes
from .mistakes_in_steps import step_mistakes


@cache
def mistakes() -> tuple[Mistake, ...]:
    """All of them: of values first, then of gradients alone."""
    return (
        *parameter_mistakes(),
        *step_mistakes(),
        *sequence_mistakes(),
        *gradient_mistakes(),
    )
