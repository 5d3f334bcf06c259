"""Lengths of a packed batch by a rule, so that the id of a case with many rows stays short.

    rule        in words               the lengths of the B rows
    full        full                   T each
    rest1       one full, rest 1       T, and 1 for each other row
    uniform1    uniform 1..T           T, and the others drawn uniformly from 1 … T

Instead of 1 any number up to T may stand. Rows are in an order drawn from seed, T and B; those of
the layout "sorted" descend. A rule makes the same lengths on every machine.

Page: docs/cases/own_cases.md
"""

import re

import numpy as np

PATTERN = r"full|rest(?:0|[1-9]\d*)|uniform(?:0|[1-9]\d*)"  # of a rule in an id
_WORDS = {
    r"full": "full",
    r"one full, rest (\d+)": "rest",
    r"uniform (\d+)(?:\.\.|…)T": "uniform",
}
EXAMPLES = '"uniform 1..T", "full" or "one full, rest 1"'


def rule_from_words(words: str) -> str:
    """The rule as an id has it, from its words or from itself. Raises ValueError."""
    text = " ".join(words.split())
    if re.fullmatch(PATTERN, text):
        return text
    for pattern, name in _WORDS.items():
        if match := re.fullmatch(pattern, text):
            return name + "".join(match.groups())
    raise ValueError(f"{words!r} is not a rule for lengths; write {EXAMPLES}, or a list of numbers")


def lengths_by_rule(rule: str, T: int, B: int, seed: int, descending: bool) -> tuple[int, ...]:
    """The B lengths, the longest T. Raises ValueError for a number that is not in 1 … T."""
    if rule == "full":
        return (T,) * B
    name, number = re.fullmatch(r"([a-z]+)(\d+)", rule).groups()  # type: ignore[union-attr]
    least = int(number)
    if not 1 <= least <= T:
        raise ValueError(f"the number in the rule {rule!r} must be from 1 to T, which is {T}")
    rng = np.random.default_rng([seed, T, B])
    others = [least] * (B - 1) if name == "rest" else rng.integers(least, T + 1, B - 1).tolist()
    lengths = [T, *others]
    order = np.argsort([-n for n in lengths], kind="stable") if descending else rng.permutation(B)
    return tuple(int(lengths[row]) for row in order)
