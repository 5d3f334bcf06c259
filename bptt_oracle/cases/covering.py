"""The covering design of the corpus: every pair of option values stands together in some row, and
most pairs do so in every cell, for a fault of one cell often needs two options to show.

    python -m bptt_oracle.cases.covering        writes covering.json anew

The rows are data, so that the corpus does not depend on how they were found.
"""

import json
import random
from itertools import combinations
from pathlib import Path
from typing import Any

from .case import CELLS, LAYOUTS, REGIMES

FACTORS: dict[str, list[Any]] = {
    "cell": list(CELLS),
    "layers": [1, 2, 3],
    "bidirectional": [False, True],
    "bias": [True, False],
    "projected": [False, True],
    "tied": [False, True],
    "layout": list(LAYOUTS),
    "state": [True, False],
    "strided": [False, True],
    "dropout": [0.0, 0.3, 1.0],
    "cotangents": ["output", "h_n", "c_n", "output+h_n", "output+h_n+c_n"],
    "regime": list(REGIMES),
    "size": ["distinct", "T1", "B1", "H1", "vector"],
}
PLAIN: dict[str, list[Any]] = {  # what every fused kernel knows
    "cell": ["LSTM"],
    "projected": [False],
    "layout": ["time", "batch", "unbatched"],
    "dropout": [0.0],
}
FILE = Path(__file__).with_name("covering.json")


def possible(row: dict[str, Any]) -> bool:
    """Whether the options of a row, those present, can stand together."""
    cell, size = row.get("cell"), row.get("size")
    return not (
        (row.get("projected") and (cell not in ("LSTM", None) or size == "H1"))
        or (row.get("tied") and not row.get("bias", True))
        or ("c_n" in row.get("cotangents", "") and cell not in ("LSTM", None))
        or (row.get("dropout") and row.get("layers") == 1)
        or (row.get("regime") == "exact" and cell not in ("RNN_RELU", None))
        or (row.get("regime") == "exact" and row.get("projected"))
        or (row.get("regime") == "exact" and "c_n" in row.get("cotangents", ""))
        or (row.get("layout") == "unbatched" and size not in ("B1", "T1", "H1", None))
        or (row.get("layout") in ("sorted", "packed") and size == "B1")
        or (row.get("regime") not in ("generic", "wide", "tiny") and size == "long")
    )


def rows() -> list[dict[str, Any]]:
    """The design read from its file."""
    design: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return design


def generate(count: int = 64, drawn: int = 30) -> list[dict[str, Any]]:
    """Row after row, the one that brings most that is new: the best of some drawn at random,
    improved option by option as long as it can be. Every sixth is plain."""
    rng = random.Random(1)  # of 45 tried, the one whose rows tell most: all pairs by row 42
    seen: set[Any] = set()
    design: list[dict[str, Any]] = []

    def gain(row: dict[str, Any]) -> float:
        return sum(_worth(met) for met in _meetings(row) if met not in seen)

    while len(design) < count:
        factors = FACTORS | (PLAIN if len(design) % 6 == 0 else {})
        best = max((draw(rng, factors) for _ in range(drawn)), key=gain)
        changed = True
        while changed:
            around = [best | {key: value} for key in factors for value in factors[key]]
            better = max((row for row in around if possible(row)), key=gain)
            changed = gain(better) > gain(best)
            best = better if changed else best
        design.append(best)
        seen.update(_meetings(best))
    return _seldom_tied(design)


def _seldom_tied(design: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, as few of them tied as meet every value that tied rows have met: all others have
    biases of their own, as nets have, and as mistakes that take one for the other need."""
    tied = [row for row in design if row["tied"]]
    missing = set().union(*(row.items() for row in tied))
    kept: list[dict[str, Any]] = []
    while missing:
        kept.append(max(tied, key=lambda row: len(row.items() & missing)))
        missing -= kept[-1].items()
    return [row | {"tied": row in kept} for row in design]


def draw(rng: random.Random, factors: dict[str, list[Any]]) -> dict[str, Any]:
    """Options drawn until they can stand together."""
    while True:
        row = {key: values[int(rng.random() * len(values))] for key, values in factors.items()}
        if possible(row):
            return row


def _meetings(row: dict[str, Any]) -> list[Any]:
    """The pairs of values in a row, alone and within its cell."""
    pairs = list(combinations(row.items(), 2))
    return pairs + [(row["cell"], *pair) for pair in pairs if pair[0][0] != "cell"]


def _worth(met: Any) -> float:
    """Pairs come first; values that leave little to go wrong count less."""
    *cell, (_, x), (_, y) = met
    return (1 if cell else 32) * (0.25 if x in _LITTLE or y in _LITTLE else 1)


_LITTLE = ("T1", "H1", "B1", 1.0)


if __name__ == "__main__":
    lines = ",\n".join("  " + json.dumps(row) for row in generate())
    FILE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
