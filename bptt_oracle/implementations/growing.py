"""Cases that grow, for an implementation that was not judged before.

They begin plain: one step, one layer, a dense batch, each cotangent alone. Then one thing is added
at a time: steps, a regime of numbers, an option, odd sizes. Then follows the corpus. The first case
that fails is therefore a small one. Early cases share a few shapes, because some frameworks compile
for seconds for each shape.
"""

from collections.abc import Iterator
from itertools import chain

from ..cases.case import COTANGENTS, REGIMES, Case
from ..cases.corpus import draw_corpus
from .fitting import fit
from .implementation import Implementation

PLAINEST = Case("LSTM", T=1, B=2, I=3, H=4)
STEPS = (1, 2, 3)
EXAMINED = 8  # cases of the corpus tried for each that is wanted


def growing_cases(implementation: Implementation, count: int, seed: int = 0) -> list[Case]:
    """The first `count` cases that the implementation can compute, each once; fewer if there are
    not so many."""
    cases: dict[Case, None] = {}
    drawn = draw_corpus(EXAMINED * count, seed)
    for candidate in chain(plain_cases(implementation.cells, seed), drawn):
        case = fit(implementation, candidate)
        if case is not None:
            cases[case] = None
        if len(cases) == count:
            break
    return list(cases)


def plain_cases(cells: tuple[str, ...], seed: int = 0) -> Iterator[Case]:
    """Cases of each cell, from one step of one layer on; see the top of this file. Some contradict
    themselves, such as a GRU with a cotangent of c_n, and `fit` leaves these out."""
    first = [PLAINEST._replace(cell=cell, seed=seed) for cell in cells]
    for T in STEPS:
        for cotangents in (*((name,) for name in COTANGENTS), ("output", "h_n")):
            for case in first:
                yield case._replace(T=T, cotangents=cotangents)
    for regime in REGIMES[1:]:
        for case in first:
            yield case._replace(T=3, regime=regime)
    for options in (
        {"state": False},
        {"bias": False},
        {"layers": 2},
        {"layers": 2, "dropout": 0.25},
        {"bidirectional": True},
        {"layers": 2, "bidirectional": True},
        {"P": 2},
        {"layout": "packed", "lengths": (2, 3)},
        {"layout": "packed", "lengths": (3, 1), "bidirectional": True, "layers": 2},
        {"B": 1},
        {"I": 1},
        {"H": 1},
        {"I": 4},
        {"H": 17},
        {"T": 12},
        {"T": 33, "H": 8},
        {"H": 64, "B": 5},
        {"H": 97, "T": 6, "regime": "saturated"},  # some gates are 0 to the last bit
    ):
        for case in first:
            yield case._replace(**{"T": 3, **options})  # type: ignore[arg-type]
