"""A fault is confirmed with more runs before it is reported.

Where rounding is amplified until a gate flips, a flip of the framework may be one that none of the
few runs had. With eight times as many renumbered, moved and random bent runs it is among them, or
it is not rounding.
"""

from collections.abc import Callable, Mapping

import numpy as np

from .judge import Verdict, judge
from .truth import Expected

EFFORT = 8


def judge_and_confirm(
    results: Mapping[str, np.ndarray],
    expected: Expected,
    exact: bool,
    expect_with: Callable[[int], Expected],
) -> tuple[Verdict, Expected]:
    """The verdict on a run's results, and the truth and noise that it was judged by.

    `expect_with(effort)` returns truth and noise from `effort` times as many runs; it is called
    only if the results look faulty.
    """
    verdict = judge(results, expected, exact)
    if verdict.word != "fault" or exact:
        return verdict, expected
    thorough = expect_with(EFFORT)
    return judge(results, thorough, exact), thorough
