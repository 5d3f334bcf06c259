"""The result of a check, and the comparison of tensors that all checks use."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


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


def difference(actual: Tensor, expected: Tensor) -> float:
    """The largest absolute difference, or 0 if it is within rounding.

    Rounding is 1000 · eps of the dtype times the largest expected magnitude. Integers: the number
    of elements that differ. Different shapes, or NaN at different places: infinity.
    """
    if actual.shape != expected.shape:
        return float("inf")
    actual, expected = actual.detach(), expected.detach()
    if not actual.is_floating_point():
        return float((actual != expected).sum())
    if not torch.equal(actual.isnan(), expected.isnan()):
        return float("inf")
    actual, expected = actual.nan_to_num(), expected.nan_to_num()
    if not actual.numel():
        return 0.0
    error = float((actual - expected).abs().max())
    rounding = 1000 * torch.finfo(actual.dtype).eps * float(expected.abs().max())
    return error if error > rounding else 0.0


def output_tensor(returned: object) -> Tensor:
    """The output of a model that returns it alone or in a tuple (output, state).

    Raises TypeError if there is no tensor in that place.
    """
    output = returned[0] if isinstance(returned, tuple) else returned
    if not isinstance(output, Tensor):
        raise TypeError(f"Expected a tensor, or a tuple that begins with one, got {type(output)}.")
    return output


def state_tensors(state: object) -> tuple[Tensor, ...]:
    """() for None, (h,) for a tensor, (h, c) for a pair; of any other result, its tensors."""
    if state is None:
        return ()
    return tuple(state) if isinstance(state, tuple | list) else (state,)  # type: ignore[return-value]
