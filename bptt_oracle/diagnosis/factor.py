"""Gradients that are wrong by a factor which is not one of the list: it is found from the results.

f = Σ value · truth / Σ truth²      over the elements of the wrong tensors of one case
"""

import math
from collections.abc import Mapping

import numpy as np

from ..judging.evaluation import Results
from ..judging.wide import narrow
from .mistake import Mistake
from .mistakes_in_gradients import GROUPS, scaled_by


def factors(
    results: Mapping[str, np.ndarray], truth: Results, wrong: tuple[str, ...]
) -> list[Mistake]:
    """Candidates for each group of gradients, and for each wrong gradient alone.

    The factor is tried in four digits first, because a program has a round one.
    """
    groups = GROUPS | {
        f"the gradient of {n[2:]}": (n[2:],) for n in wrong if n[2:] not in "xh_0c_0"
    }
    candidates = []
    for group, names in groups.items():
        own = [n for n in wrong if n[2:].startswith(names)]
        value = sum(float((results[n] * narrow(truth[n])).sum()) for n in own)
        square = sum(float((narrow(truth[n]) ** 2).sum()) for n in own)
        if not square or not math.isfinite(value / square):
            continue
        found = value / square
        for factor in dict.fromkeys((float(f"{found:.4g}"), found)):
            candidates.append(scaled_by(group, names, factor))
    return candidates
