"""The registry of cases."""

from collections.abc import Callable
from typing import NamedTuple

import torch

KINDS = ("wrong", "right", "blind")
EXPECTED = {"wrong": "FAILS", "right": "holds", "blind": "rejected"}


class Case(NamedTuple):
    """One model, and the check of it."""

    check: str
    kind: str  # wrong, right or blind
    name: str
    run: Callable  # () -> CheckResult


CASES: list[Case] = []


def add(check, kind, name, run, *args, **options):
    """Register a case."""
    assert kind in KINDS
    assert (check, kind, name) not in {c[:3] for c in CASES}, (check, kind, name)
    CASES.append(Case(check, kind, name, lambda: run(*args, **options)))


def outcome(case):
    """holds, FAILS or rejected, and what the check says."""
    torch.manual_seed(0)
    try:
        result = case.run()
    except ValueError as e:
        return "rejected", str(e)
    return ("holds" if result else "FAILS"), result.evidence
