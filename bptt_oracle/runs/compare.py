"""Compare two runs, result by result: by R, which measures the error, and by the bits.

    fault           the new run is wrong; the note says if the old one was, too
    crash           the new run's process ended before there was a result
    drift           R of some tensor grew to more than DRIFT_FACTOR times its old value, and is
                    above DRIFT_FLOOR
    untrusted       different bits in an ill-conditioned case, which cannot tell which are better
    masks           the old torch drew different dropout masks from the seed, so the two results
                    answer different questions
    kernel          a different kernel ran, whatever the bits
    moved           different bits, within rounding
    fixed           the old run was wrong or crashed, and the new one is not and did not
    new, removed    only one of the runs has the result
    equal           every bit of every tensor is equal

Both runs are measured against the same truth, because it does not come from the framework.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from .run_file import BadRun, Row, Run, differences, tensor_key

DRIFT_FACTOR = 4.0
DRIFT_FLOOR = 2.0  # a smaller R is that of a careful evaluation, and its size means nothing
BLOCK = 2**16  # elements
WORDS = {
    "fault": "fault",
    "crash": "crash",
    "drift": "drift",
    "untrusted": "untrusted",
    "fixed": "fixed",
    "masks": "different dropout masks",
    "kernel": "kernel changed",
    "moved": "moved within rounding",
    "new": "new",
    "removed": "removed",
    "equal": "bitwise equal",
}


class Change(NamedTuple):
    """How the result of one case on one path in one dtype changed."""

    case: str
    path: str
    dtype: str
    word: str  # a key of WORDS
    tensor: str  # the one that decided the word
    old: float | None  # its R in the old run
    new: float | None
    kernel: str  # of the new run; "old → new" if they differ
    note: str

    @property
    def replay_arguments(self) -> str:
        """The case, path and dtype as arguments of `bptt-oracle replay`."""
        return f"{self.case} --path {self.path} --dtype {self.dtype}"


class Closeness(NamedTuple):
    """Of the tensors whose bits moved: how many are closer to the truth in either run."""

    moved: int
    old: int
    new: int
    median_old: float | None  # of R
    median_new: float | None


def compare(old: Run, new: Run, factor: float = DRIFT_FACTOR) -> list[Change]:
    """The change of every result: those of the old run in its order, then those that only the new
    run has. Raises BadRun if the runs have no result in common, because then nothing is
    compared."""
    before = {row.key: row for row in old.rows}
    after = {row.key: row for row in new.rows}
    if before | after and not before.keys() & after.keys():
        reasons = "; ".join(f"{n} {a} and {b}" for n, a, b in differences(old.plan, new.plan))
        raise BadRun(
            f"the runs have no result in common ({reasons or 'although their plans are the same'});"
            " record both with the same --cases, --seed, --dtype and --path"
        )
    return [change(before.get(key), after.get(key), factor) for key in before | after]


def change(old: Row | None, new: Row | None, factor: float = DRIFT_FACTOR) -> Change:
    """How one result changed; one of the two may be missing."""
    if new is None:
        assert old is not None
        return Change(*old.key, "removed", old.tensor, old.R, None, old.kernel, old.note)
    if old is None:
        word = new.verdict if new.verdict in ("fault", "crash") else "new"
        return Change(*new.key, word, new.tensor, None, new.R, new.kernel, new.note)
    kernel = (
        new.kernel
        if new.kernel == old.kernel
        else f"{old.kernel or 'none'} → {new.kernel or 'none'}"
    )
    equal = {n: t.bits for n, t in old.tensors.items()} == {
        n: t.bits for n, t in new.tensors.items()
    }
    tensor, notes = new.tensor, [new.note] if new.note else []
    different_masks = new.masks != old.masks
    drifted = [n for n in new.tensors if not different_masks and _drifted(old, new, n, factor)]
    if new.verdict == "fault":
        word = "fault"
        if old.verdict == "fault":
            notes.append("a fault in the old run, too")
    elif new.verdict == "crash":
        word = "crash"
        if old.verdict == "crash":
            notes.append("a crash in the old run, too")
    elif drifted and new.verdict == "agree":
        word, tensor = "drift", max(drifted, key=lambda name: new.tensors[name].R or 0)
    elif old.verdict in ("fault", "crash"):
        word, tensor = "fixed", old.tensor
        notes.append(old.note)
    elif different_masks:
        word = "masks"
    elif not equal and new.verdict == "untrusted":
        word = "untrusted"
    elif kernel != new.kernel:
        word = "kernel"
    else:
        word = "equal" if equal else "moved"
    note = "; ".join(filter(None, notes))
    return Change(*new.key, word, tensor, _R(old, tensor), _R(new, tensor), kernel, note)


def _R(row: Row, tensor: str) -> float | None:
    """R of one tensor; R of the row if torch raised, so that there are no tensors."""
    return row.tensors[tensor].R if tensor in row.tensors else row.R if not row.tensors else None


def _drifted(old: Row, new: Row, name: str, factor: float) -> bool:
    """Whether R of a tensor drifted; False if either R is missing."""
    before, R = old.tensors.get(name), new.tensors[name].R
    if before is None or before.R is None or R is None:
        return False
    return max(DRIFT_FLOOR, factor * before.R) < R


def closeness(old: Run, new: Run) -> Closeness:
    """Which run is closer to the truth where their bits differ; without the results whose dropout
    masks differ."""
    before = {row.key: row for row in old.rows}
    pairs = [
        (was.R, now.R)
        for row in new.rows
        if row.key in before and row.masks == before[row.key].masks
        for name, now in row.tensors.items()
        if (was := before[row.key].tensors.get(name)) is not None
        and was.bits != now.bits
        and was.R is not None
        and now.R is not None
    ]
    if not pairs:
        return Closeness(0, 0, 0, None, None)
    return Closeness(
        len(pairs),
        sum(a < b for a, b in pairs),
        sum(b < a for a, b in pairs),
        median(a for a, _ in pairs),
        median(b for _, b in pairs),
    )


def count_words(changes: Iterable[Change]) -> dict[tuple[str, str], Counter[str]]:
    """The number of changes of each word, by path and dtype."""
    counters: dict[tuple[str, str], Counter[str]] = {}
    for c in changes:
        counters.setdefault((c.path, c.dtype), Counter())[c.word] += 1
    return counters


def environment_changes(old: Run, new: Run) -> list[tuple[str, str, str]]:
    """What differs in the environment, in the code of bptt-oracle and in the plan, the last as one
    entry: name, old, new."""
    changes = differences(old.environment, new.environment)
    if old.code_digest != new.code_digest:
        changes.append(("bptt-oracle itself", old.code_digest, new.code_digest))
    if planned := differences(old.plan, new.plan):
        before, after = ("; ".join(f"{one[0]} {one[i]}" for one in planned) for i in (1, 2))
        changes.append(("plan", before, after))
    return changes


def relative_differences(
    new: Run, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """For each tensor whose values both runs recorded, by `tensor_key`: max |new − old| over
    max |old|, or over 1 if old is all zeros."""
    sizes = {}
    for row in new.rows:
        for name in (tensor_key(row, tensor) for tensor in row.tensors):
            if name not in before or name not in after:
                continue
            a, b = before[name], after[name]
            if a.shape == b.shape:
                sizes[name] = _relative_difference(a, b)
    return sizes


def _relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    """max |b − a| over max |a|, or over 1 if a is all zeros; in extended precision, a block at a
    time, because it takes up to eight times the memory of the arrays."""
    largest = difference = np.longdouble(0)
    a, b = a.reshape(-1), b.reshape(-1)
    with np.errstate(invalid="ignore"):
        for start in range(0, a.size, BLOCK):
            x, y = (v[start : start + BLOCK].astype(np.longdouble) for v in (a, b))
            largest = np.maximum(largest, np.abs(x).max())
            difference = np.maximum(difference, np.abs(y - x).max())
        return float(difference / (largest or 1))


def is_failure(changes: Iterable[Change], fail_on: str) -> bool:
    """Whether the comparison fails: for a fault, and with `fail_on` "drift" also for a drift."""
    failures = {"fault", "drift"} if fail_on == "drift" else {"fault"}
    return any(c.word in failures for c in changes)


def has_crash(changes: Iterable[Change]) -> bool:
    """Whether the new run lacks a result because of a crash."""
    return any(c.word == "crash" for c in changes)


def comparison_to_dict(
    old: Run, new: Run, changes: list[Change], relative: Mapping[str, float]
) -> dict[str, Any]:
    """The whole comparison, for `compare --json`. `relative` is from `relative_differences`."""
    total: Counter[str] = Counter(c.word for c in changes)
    return {
        "format": "bptt-oracle comparison",
        "schema": 2,
        "counts": {word: total[word] for word in WORDS},
        "by path": [
            {"path": path, "dtype": dtype, **counter}
            for (path, dtype), counter in count_words(changes).items()
        ],
        "closer to the truth": closeness(old, new)._asdict(),
        "environment": [
            {"name": n, "old": a, "new": b} for n, a, b in environment_changes(old, new)
        ],
        "relative differences": dict(relative),
        "changes": [c._asdict() for c in changes if c.word != "equal"],
    }
