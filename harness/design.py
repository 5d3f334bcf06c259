"""The covering design of the corpus: every pair of option values stands together in some row.

    python -m harness.design        writes design.json anew (needs covertable)

The rows are data, so that the corpus does not depend on the version of a library.
"""

import json
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
FILE = Path(__file__).with_name("design.json")


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
    )


def rows() -> list[dict[str, Any]]:
    """The design read from its file."""
    design: list[dict[str, Any]] = json.loads(FILE.read_text())
    return design


def generate() -> list[dict[str, Any]]:
    """The design by covertable, strength 2."""
    from covertable import make

    keys = list(FACTORS)
    constraints = [
        {
            "operator": "fn",
            "requires": [a, b],
            "evaluate": lambda row: possible(dict(row)),
        }
        for i, a in enumerate(keys)
        for b in keys[i + 1 :]
    ]
    design: list[dict[str, Any]] = make(FACTORS, strength=2, constraints=constraints)
    return [{key: row[key] for key in keys} for row in design]


if __name__ == "__main__":
    lines = ",\n".join("  " + json.dumps(row) for row in generate())
    FILE.write_text(f"[\n{lines}\n]\n")
