"""A result as a run keeps it: R and a digest of each tensor; and what a result may not be."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..processes.failures import CommandError

MODEL = "model:"  # begins the id of a result of the user's own model
WRONG = ("fault", "known deviation")  # verdicts of results whose R is above the limit
VERDICTS = ("agree", *WRONG, "untrusted", "crash")
TEXTS = ("case", "path", "dtype", "verdict", "tensor", "place", "kernel", "masks", "note")
_DIGEST = re.compile("[0-9a-f]{16}")


class BadRun(CommandError, ValueError):
    """A file that is not a run, or that is damaged; or a run that cannot be recorded there."""


class NewerRun(BadRun):
    """A run that a newer version has written, which this one cannot read."""


class TensorDigest(NamedTuple):
    """R, None if the tensor is ill-conditioned; and a digest of dtype, shape and every bit."""

    R: float | None
    bits: str


class Row(NamedTuple):
    """One case on one path in one dtype."""

    case: str
    path: str
    dtype: str
    verdict: str
    R: float
    tensor: str
    place: str
    kernel: str
    seconds: float
    note: str
    masks: str  # the digest of the dropout masks, empty if there are none; of a model's results,
    # that of the model's weights, batch and random numbers
    tensors: dict[str, TensorDigest]
    environment: int = 0  # the number of the one in which it was computed

    @property
    def key(self) -> tuple[str, str, str]:
        """Rows of two runs with the same key are compared."""
        return self.case, self.path, self.dtype


def reject_contradictions(row: Row, limit: float) -> None:
    """Raise ValueError unless each part of a row is of its kind, and R agrees with the verdict: R
    is above the limit exactly in a fault, a known deviation, and a crash, which has no tensors and
    a note."""
    for name in TEXTS:
        if not getattr(row, name).isprintable():
            raise ValueError(f"{name} is not a printable string")
    if row.verdict not in VERDICTS:
        raise ValueError(f"verdict is not one of {', '.join(VERDICTS)}")
    for number in (row.R, row.seconds, *(t.R for t in row.tensors.values() if t.R is not None)):
        if not number >= 0:
            raise ValueError("R is not a number of at least 0")
    for name, (_, bits) in row.tensors.items():
        if not name or not name.isprintable() or " " in name or not _DIGEST.fullmatch(bits):
            raise ValueError("tensors are not names with 16 hexadecimal digits")
    if row.environment < 0:
        raise ValueError("environment is not the number of one")
    worst = max((t.R for t in row.tensors.values() if t.R is not None), default=0.0)
    largest = max(row.R, worst)
    if row.verdict == "crash":
        contradicts = bool(row.tensors) or not row.note
    elif row.verdict in WRONG:
        contradicts = largest <= limit
    elif row.verdict == "agree":
        contradicts = largest > limit
    else:  # every tensor is ill-conditioned, and R is that of one of them
        contradicts = worst > limit
    if contradicts:
        raise ValueError(f"verdict is {row.verdict}, which its R contradicts")


def rounded(number: float) -> float:
    """R as it is kept: six digits; infinite if it is not a number."""
    return math.inf if math.isnan(number) else float(f"{number:.6g}")


def digest(*parts: bytes) -> str:
    """A BLAKE2b digest of these bytes, 16 hexadecimal digits."""
    hasher = hashlib.blake2b(digest_size=8)
    for part in parts:
        hasher.update(part)
    return hasher.hexdigest()


def array_digest(value: np.ndarray) -> str:
    """The digest of an array: its dtype, its shape, every bit of its elements."""
    return digest(f"{value.dtype.str}{value.shape}".encode(), np.ascontiguousarray(value).tobytes())


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The entries that differ between two plans, or two environments: name, old, new."""
    both = [(n, *(format_value(one.get(n)) for one in (old, new))) for n in {**old, **new}]
    return [(n, a, b) for n, a, b in both if a != b]


def merged(environments: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Name and value of each fact of some environments; where they differ, the list of values."""
    names = dict.fromkeys(name for facts in environments for name in facts)
    values = {name: {format_value(facts.get(name)) for facts in environments} for name in names}
    return {
        name: environments[0].get(name) if len(found) == 1 else sorted(found)
        for name, found in values.items()
    }


def format_value(value: Any) -> str:
    """A value of a plan or environment as text."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
