"""The result of a check."""

from collections.abc import Sequence
from typing import NamedTuple


class CheckResult(NamedTuple):
    """True if the point holds; `assert causality(model, ids)` fails with the evidence."""

    point: int  # of the checklist
    claim: str
    holds: bool
    evidence: str  # the failures, or the measurement that shows that there are none

    @classmethod
    def from_failures(
        cls, point: int, claim: str, failures: Sequence[str], evidence: str
    ) -> "CheckResult":
        """The point holds if there are no failures; `evidence` is reported in that case."""
        return cls(point, claim, not failures, "; ".join(failures) or evidence)

    def __bool__(self) -> bool:
        """Whether the point holds."""
        return self.holds

    def __str__(self) -> str:
        """One line: holds or FAILS, point, claim and evidence."""
        return f"{'holds' if self.holds else 'FAILS'} ({self.point}) {self.claim}: {self.evidence}"
