"""Offsets over many cases: errors of one sign in one tensor of one path.

Rounding has no preferred sign. An offset below the limit of every single case adds up over n cases,
where rounding cancels:

    D = |Σ o| / (σ √n)      o  the offset of one result (`judge.Score`), in units of its noise
                            σ  1/4, the root mean square of o over honest evaluations

An offset is systematic if D is above the judge's limit and the mean of o is above 1/8, half of what
rounding causes in one case: a tanh whose last digit leans to one side is not a fault, however many
cases show it.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from . import judge

SPREAD = 0.25
LEAST_MEAN = 0.125


class Offset(NamedTuple):
    """The offsets of one tensor on one path in one dtype, over all cases."""

    path: str
    dtype: str
    tensor: str
    cases: int
    mean: float
    D: float

    @property
    def is_systematic(self) -> bool:
        """Whether rounding cannot explain it."""
        return self.D > judge.LIMIT and abs(self.mean) > LEAST_MEAN


def collect_offsets(results: Iterable[Any]) -> list[Offset]:
    """The offsets of all results that agree, the largest D first."""
    groups: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for result in results:
        if result.verdict == "agree":
            for tensor, offset in result.offsets.items():
                groups[result.path, result.dtype, tensor].append(offset)
    offsets = []
    for key, values in groups.items():
        total, n = math.fsum(values), len(values)
        offsets.append(Offset(*key, n, total / n, abs(total) / (SPREAD * math.sqrt(n))))
    return sorted(offsets, key=lambda o: -o.D)
