"""Hypothesis strategies for cases: they draw sizes, options and the seed of the arrays."""

import numpy as np
from hypothesis import strategies as st

from bptt_oracle.cases.case import CELLS, COTANGENTS, LAYOUTS, REGIMES, Case, contradiction
from reference.cells.table import CELL_TABLE


@st.composite
def cases(draw, cells=CELLS, regimes=REGIMES, layouts=LAYOUTS, plain=False):
    """Any case of these cells, regimes and layouts; `plain` excludes projection and dropout."""
    cell = draw(st.sampled_from(cells))
    layout = draw(st.sampled_from(layouts))
    T, H = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    B = 1 if layout == "unbatched" else draw(st.integers(1, 6))
    lengths: tuple[int, ...] = ()
    if layout in ("sorted", "packed"):
        rest = draw(st.lists(st.integers(1, T), min_size=B - 1, max_size=B - 1))
        lengths = tuple(sorted([T, *rest], reverse=True))
        if layout == "packed":
            lengths = tuple(draw(st.permutations(lengths)))
    layers = draw(st.integers(1, 3))
    names = COTANGENTS[: 1 + len(CELL_TABLE[cell].State._fields)]
    allowed = [r for r in regimes if r != "exact" or cell == "RNN_RELU"]
    case = Case(
        cell=cell,
        T=T,
        B=B,
        I=draw(st.integers(1, 9)),
        H=H,
        layers=layers,
        bidirectional=draw(st.booleans()),
        bias=draw(st.booleans()),
        P=draw(st.integers(0, H - 1)) if cell == "LSTM" and not plain else 0,
        layout=layout,
        lengths=lengths,
        state=draw(st.booleans()),
        strided=draw(st.booleans()),
        dropout=draw(st.sampled_from([0.0, 0.25, 1.0])) if layers > 1 and not plain else 0.0,
        cotangents=tuple(n for n in names if draw(st.booleans())) or ("output",),
        regime=draw(st.sampled_from(allowed)),
        seed=draw(st.integers(0, 2**31)),
    )
    assert not contradiction(case), contradiction(case)
    return case


def pinned(**changes):
    """A two-layer LSTM with every cotangent, for tests that need one case."""
    base = Case("LSTM", 5, 3, 4, 6, layers=2, cotangents=("output", "h_n", "c_n"), seed=7)
    return base._replace(**changes)


def rng_of(case):
    """A generator for a test's own arrays, independent of those of the case."""
    return np.random.default_rng([99, case.seed])
