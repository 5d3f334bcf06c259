"""The corpus: cases in a fixed order, first those of the covering design, then random ones.

Sizes are small and pairwise distinct, unless the row has T, B or H = 1, or widths around those of
vector registers. Some cases have a long sequence, a batch of many rows, or four equal sizes,
because a mistake may show only there. Lengths differ, with some ties, and are rarely all equal.
After the design every seventh case has everyday sizes, and every seventh has one large size: T, B
or H, for each cell in turn. `corpus(count, seed)` returns the same list on every machine, and
`corpus(n)` is the beginning of `corpus(m)` for n < m.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from .case import CELLS, Case, contradiction
from .covering import FACTORS, PLAIN, Row, is_possible, load_design

SIZES = (2, 3, 4, 5, 6, 7)
VECTOR_WIDTHS = (8, 15, 17, 32, 33, 48)
LONG = (9, 12, 17)  # T, B, or the one size of all four
EVERYDAY = ((8, 10, 16), (3, 4, 8), (1, 3, 10), (8, 16, 20))  # those of T, B, I and H
LARGE = (65, 97, 129)
LARGE_PACK = (33, 36, 41)  # rows of a pack; fewer, because its id spells every length
START = 1767  # the best of 5200: its first 64 cases have the most rare features in each cell


def corpus(count: int, seed: int = 0) -> list[Case]:
    """The first `count` cases of a seed."""
    return list(draw_corpus(count, seed))


def draw_corpus(count: int, seed: int = 0) -> Iterator[Case]:
    """Yield the cases of `corpus`, which may be too many for memory."""
    design = load_design()
    for index in range(count):
        rng = np.random.default_rng([START, seed, index])
        row = design[index] if index < len(design) else _random_row(rng, index)
        yield complete(row, rng, seed * 1_000_000 + index)


def complete(row: Row, rng: np.random.Generator, seed: int) -> Case:
    """The case of a row of options, with sizes and lengths from `rng`."""
    T, B, I, H = _sizes(rng, row)  # noqa: E741
    case = Case(
        cell=row["cell"],
        T=T,
        B=B,
        I=I,
        H=H,
        layers=row["layers"],
        bidirectional=row["bidirectional"],
        bias=row["bias"],
        P=int(rng.integers(1, H)) if row["projected"] else 0,
        tied=row["tied"],
        layout=row["layout"],
        lengths=_lengths(rng, T, B, row["layout"]),
        state=row["state"],
        strided=row["strided"],
        dropout=row["dropout"],
        cotangents=tuple(row["cotangents"].split("+")),
        regime=row["regime"],
        seed=seed,
    )
    reason = contradiction(case)
    if reason:
        raise ValueError(f"the row {row} is not a possible case: {reason}")
    return case


def _sizes(rng: np.random.Generator, row: Row) -> tuple[int, int, int, int]:
    """T, B, I and H. At most one is large, because the truth would otherwise take seconds."""
    T, B, I, H = (int(n) for n in rng.permutation(SIZES)[:4])  # noqa: E741
    size, layout = row["size"], row["layout"]
    if size == "everyday":
        T, B, I, H = (int(rng.choice(values)) for values in EVERYDAY)  # noqa: E741
        return T, 1 if layout == "unbatched" else B, I, H
    if size in ("long", "many", "broad"):
        packed = layout in ("sorted", "packed")
        large = int(rng.choice(LARGE_PACK if packed and size == "many" else LARGE))
        T = large if size == "long" else T
        B = large if size == "many" else B
        H = large if size == "broad" else H
        return T, B, I, H
    if size == "vector":
        I, H = (int(n) for n in rng.permutation(VECTOR_WIDTHS)[:2])  # noqa: E741
    many, turn = int(rng.choice(LONG)), rng.integers(3)
    if turn == 0 and size == "distinct":
        T = I = H = B  # noqa: E741
    elif turn == 0 and size in ("vector", "T1"):
        T, B = 2, many
    elif turn == 1 and size in ("distinct", "vector", "B1"):
        T, B = many, 1 if size == "distinct" and layout in ("time", "batch") else 2
    T = 1 if size == "T1" else T
    H = 1 if size == "H1" else H
    B = 1 if size == "B1" or layout == "unbatched" else B
    return T, B, I, H


def _lengths(rng: np.random.Generator, T: int, B: int, layout: str) -> tuple[int, ...]:
    """B lengths, the longest T; in the layout "packed" not in descending order if possible."""
    if layout not in ("sorted", "packed"):
        return ()
    lengths = [T, *(int(n) for n in rng.integers(1, T + 1, B - 1))]
    if layout == "sorted" and rng.integers(4) == 0:
        lengths = [T] * B
    if layout == "packed" and min(lengths) == T > 1:
        lengths[-1] = T - 1
    lengths.sort(reverse=layout == "sorted")
    if layout == "packed" and B > 2:
        lengths.insert(1, lengths.pop())
    return tuple(lengths)


def _random_row(rng: np.random.Generator, index: int) -> Row:
    """A random row, drawn again until it is possible.

    Every fourth is plain: its options are those that every fused kernel supports, which few rows
    would have by chance.
    """
    factors = FACTORS | (PLAIN if index % 4 == 0 else {})
    if index % 7 == 5:
        turn = index // 7
        factors |= {"cell": [CELLS[turn % 4]], "size": [("long", "many", "broad")[turn % 3]]}
    while True:
        row = {key: values[rng.integers(len(values))] for key, values in factors.items()}
        if is_possible(row):
            return row | ({"size": "everyday"} if index % 7 == 0 else {})


def cases_for(count: int, seed: int, paths: Sequence[str]) -> list[Case]:
    """The corpus, followed by `boundaries` if one of the paths runs on CUDA."""
    return list(draw_cases_for(count, seed, paths))


def draw_cases_for(count: int, seed: int, paths: Sequence[str]) -> Iterator[Case]:
    """Yield the cases of `cases_for`, which may be too many for memory."""
    yield from draw_corpus(count, seed)
    if any(name.startswith("cuda") for name in paths):
        yield from boundaries(seed)


CUDNN_WIDTHS = (128, 129, 192, 193, 256, 257, 384, 385)


def boundaries(seed: int = 0) -> list[Case]:
    """Cases for CUDA only: widths on both sides of those where cuDNN changes its kernel.

    These are H = 384 (RNN) and 192 (GRU, LSTM) in the forward pass, 256 and 128 in the backward.
    """
    return [
        Case(cell, T=3, B=2, I=5, H=H, seed=seed * 1_000_000 + H)
        for cell in CELLS
        for H in CUDNN_WIDTHS
    ]
