"""What a check answers: whether the point holds, and what it saw."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Verdict(NamedTuple):
    """True where the point holds: `assert causality(model, ids)` works, and shows the evidence."""

    point: int  # of the checklist
    claim: str
    holds: bool
    evidence: str

    def __bool__(self) -> bool:
        """Whether the point holds."""
        return self.holds

    def __str__(self) -> str:
        """One line."""
        return f"{'holds' if self.holds else 'FAILS'} ({self.point}) {self.claim}: {self.evidence}"


def verdict(point: int, claim: str, faults: Sequence[str], evidence: str) -> Verdict:
    """The faults if there are any, else the evidence that there are none."""
    return Verdict(point, claim, not faults, "; ".join(faults) or evidence)


def gap(found: Tensor, expected: Tensor) -> float:
    """The largest difference, 0 where it is rounding; infinite where NaN stands on one side."""
    if found.shape != expected.shape:
        return float("inf")
    found, expected = found.detach(), expected.detach()
    if not found.is_floating_point():
        return float((found != expected).sum())
    if not torch.equal(found.isnan(), expected.isnan()):
        return float("inf")
    found, expected = found.nan_to_num(), expected.nan_to_num()
    if not found.numel():
        return 0.0
    error = float((found - expected).abs().max())
    rounding = 1000 * torch.finfo(found.dtype).eps * float(expected.abs().max())
    return error if error > rounding else 0.0


def first(output: object) -> Tensor:
    """The output of a model that gives it alone, or with its state."""
    value = output[0] if isinstance(output, tuple) else output
    if not isinstance(value, Tensor):
        raise TypeError(f"Expected a tensor, or a tuple that begins with one, got {type(value)}.")
    return value


def parts(state: object) -> tuple[Tensor, ...]:
    """h, or h and c; nothing of no state."""
    if state is None:
        return ()
    return tuple(state) if isinstance(state, tuple | list) else (state,)  # type: ignore[return-value]
