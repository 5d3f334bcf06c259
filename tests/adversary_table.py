"""Runs every check on wrong and right models and writes the table of docs/checklist/checklist.md.

    python tests/adversary_table.py

Prints the models that a check judges wrongly; the exit status is 1 if there are any.
"""

import sys
import warnings
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # to run it without an installation

from support.adversary import CASES, EXPECTED, KINDS, outcome  # noqa: E402

PAGE = ROOT / "docs" / "checklist" / "checklist.md"
BEGIN, END = "<!-- adversary: written by tests/adversary_table.py -->", "<!-- end -->"
HEAD = (
    "| check | wrong models convicted | right models passed | cases that show nothing rejected |\n"
    "|---|---|---|---|\n"
)


def table(good):
    """The table, of the cases that were judged as expected."""
    lines = []
    for check in dict.fromkeys(case.check for case in CASES):
        cells = []
        for kind in KINDS:
            cases = [case for case in CASES if (case.check, case.kind) == (check, kind)]
            cells.append(f"{sum(case in good for case in cases)} of {len(cases)}")
        lines.append(f"| `{check}` | {' | '.join(cells)} |\n")
    return HEAD + "".join(lines)


def written(page, rows):
    """The page with its table replaced."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{rows}\n{END}{rest.split(END)[1]}"


def main():
    """Run all cases and write the table."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    good = []
    for case in CASES:
        seen, text = outcome(case)
        if seen == EXPECTED[case.kind]:
            good.append(case)
        else:
            print(f"{case.check}, {case.kind}: {case.name}: {seen}: {text}")
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), table(good)), encoding="utf-8")
    return len(good) < len(CASES)


if __name__ == "__main__":
    sys.exit(main())
