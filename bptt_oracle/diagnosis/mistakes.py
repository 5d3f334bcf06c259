"""The list of all mistakes that are known by name."""

from functools import cache

from .factor import factor_mistakes
from .mistake import Mistake
from .mistakes_in_adjoints import adjoint_mistakes
from .mistakes_in_dropout import dropout_mistakes
from .mistakes_in_gates import gate_mistakes
from .mistakes_in_gradients import gradient_mistakes
from .mistakes_in_parameters import parameter_mistakes
from .mistakes_in_paths import path_mistakes
from .mistakes_in_rounding import rounding_mistakes
from .mistakes_in_sequences import sequence_mistakes
from .mistakes_in_slopes import slope_mistakes
from .mistakes_in_states import state_mistakes
from .mistakes_in_steps import step_mistakes


@cache
def mistakes() -> tuple[Mistake, ...]:
    """All of them: of values first, then of gradients alone."""
    return (
        *parameter_mistakes(),
        *rounding_mistakes(),
        *step_mistakes(),
        *state_mistakes(),
        *sequence_mistakes(),
        *dropout_mistakes(),
        *path_mistakes(),
        *adjoint_mistakes(),
        *gate_mistakes(),
        *slope_mistakes(),
        *gradient_mistakes(),
        *factor_mistakes(),
    )
