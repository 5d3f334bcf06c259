"""A few small cases of each cell which tell mistakes apart.

They have T = 1 to 4, B = 2 or 3, I = H too so that transposes show, two layers, two directions,
packed lengths, with and without a state, and each cotangent alone. T, B and the sizes differ where
they can, so that a factor 1/B is not one of 1/T. In the last two net inputs are near zero, or gates
are saturated: only there a tanh or σ without relative accuracy shows.
"""

from reference.cells.table import CELL_TABLE

from ..cases.case import Case


def diagnostic_cases(cell: str) -> list[Case]:
    """The cases of a cell, the smallest first; the caller leaves out those it cannot compute."""
    every = ("output", "h_n", *["c_n"] * (len(CELL_TABLE[cell].State._fields) == 2))
    plain = Case(cell, 1, 2, 4, 3, cotangents=every, seed=7001)
    packed = plain._replace(T=5, B=3, I=2, layout="packed", lengths=(3, 5, 2))
    cases = [
        plain,
        plain._replace(T=3, B=2, seed=7002),
        plain._replace(T=4, B=3, I=3, H=3, seed=7003),
        plain._replace(T=2, B=1, I=2, H=2, seed=7019),
        plain._replace(T=3, B=4, I=2, H=5, bias=False, state=False, seed=7004),
        *(
            plain._replace(T=4, B=3, I=5, cotangents=(name,), seed=7005 + k)
            for k, name in enumerate(every)
        ),
        plain._replace(T=3, B=2, I=5, layers=2, seed=7008),
        plain._replace(T=3, B=2, I=5, bidirectional=True, seed=7009),
        plain._replace(T=4, B=3, I=2, layers=3, bidirectional=True, seed=7010),
        packed._replace(seed=7011),
        packed._replace(bidirectional=True, seed=7012),
        packed._replace(layers=2, bidirectional=True, seed=7013),
        plain._replace(T=4, B=3, I=2, layout="batch", seed=7014),
        plain._replace(T=4, B=3, regime="tiny", seed=7015),
        plain._replace(T=4, B=3, regime="saturated", seed=7016),
    ]
    if CELL_TABLE[cell].projection:
        cases.append(plain._replace(T=3, B=2, I=5, H=4, P=2, layers=2, seed=7017))
        cases.append(plain._replace(T=2, B=3, I=2, H=5, P=3, bidirectional=True, seed=7018))
    return cases


def dropout_cases(cell: str) -> list[Case]:
    """More cases of a cell, with dropout, for an implementation that has it.

    p is not ½, where 1/p is 1/(1 − p); three layers have two masks.
    """
    every = ("output", "h_n", *["c_n"] * (len(CELL_TABLE[cell].State._fields) == 2))
    plain = Case(cell, 3, 2, 4, 3, layers=2, dropout=0.25, cotangents=every, seed=7020)
    cases = [
        plain,
        plain._replace(T=4, B=3, layers=3, dropout=0.4, seed=7021),
        plain._replace(T=4, B=3, bidirectional=True, layout="batch", dropout=0.4, seed=7022),
        plain._replace(
            T=5,
            B=3,
            I=2,
            layers=3,
            bidirectional=True,
            layout="packed",
            lengths=(3, 5, 2),
            seed=7023,
        ),
    ]
    if CELL_TABLE[cell].projection:
        cases.append(plain._replace(I=2, H=5, P=2, layers=3, seed=7024))
    return cases
