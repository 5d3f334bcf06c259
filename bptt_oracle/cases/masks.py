"""The dropout masks of a problem.

A framework draws them at random, so a problem with dropout has a truth only for given masks: those
that torch draws from the problem's seed.
"""

import numpy as np

from torch_impl.execution.problem import Problem


def draw_masks(problem: Problem, dtype: str) -> list[np.ndarray]:
    """The dropout masks of zeros and ones that torch draws for a problem, float64.

    One for each layer but the last, in the layout of the padded output. Without dropout there are
    none, and torch is not imported.
    """
    if not problem.net.dropout:
        return []
    from torch_impl.execution.run import dropout_masks

    return dropout_masks(problem, dtype)
