"""Two runs held against each other, result by result, each by truth and by its bits.

    fault           the new run is wrong; note says where the old one was as well
    drift           the error of some tensor grew to FACTOR times what it was, and is above LEAST
    untrusted       other bits, and the case cannot tell which are better
    masks           the old torch drew different dropout masks from the seed: not the same question
    kernel changed    another kernel ran, whatever the bits
    moved           other bits, within rounding
    fixed           the old run was wrong, and the new one is not
    new, removed    only one of the runs has it
    equal           every bit of every tensor

The truth of both is the same, whatever they ran on: it does not come from the framework.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from .run_file import BadRun, Row, Run, name_of, unlike

FACTOR = 4.0
LEAST = 2.0  # below it an error is that of a careful evaluation, and has no size to speak of
WORDS = {
    "fault": "fault",
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
    """What became of one case on one path in one dtype."""

    case: str
    path: str
    dtype: str
    word: str  # a key of WORDS
    tensor: str  # the one that tells most
    old: float | None  # its R in the old run
    new: float | None
    kernel: str  # the new one; both where they differ
    note: str

    @property
    def spelled(self) -> str:
        """The case as replay takes it."""
        return f"{self.case} --path {self.path} --dtype {self.dtype}"


class Closer(NamedTuple):
    """Of the tensors whose bits moved: which run is nearer to the truth."""

    moved: int
    old: int
    new: int
    median_old: float | None
    median_new: float | None


def compare(old: Run, new: Run, factor: float = FACTOR) -> list[Change]:
    """Every result of both runs: the old one's in its order, then what the new one has more.
    Raises BadRun where they have none in common: nothing is compared then, whatever is new."""
    before = {row.key: row for row in old.rows}
    after = {row.key: row for row in new.rows}
    if before | after and not before.keys() & after.keys():
        what = "; ".join(f"{n} {a} and {b}" for n, a, b in unlike(old.plan, new.plan))
        raise BadRun(
            f"the runs have no result in common ({what or 'though they are of one plan'}); "
            "record both with the same --cases, --seed, --dtype and --path"
        )
    return [change(before.get(key), after.get(key), factor) for key in before | after]


def change(old: Row | None, new: Row | None, factor: float = FACTOR) -> Change:
    """What became of one result; one of the two may be missing."""
    if new is None:
        assert old is not None
        return Change(*old.key, "removed", old.tensor, old.R, None, old.kernel, old.note)
    if old is None:
        word = "fault" if new.verdict == "fault" else "new"
        return Change(*new.key, word, new.tensor, None, new.R, new.kernel, new.note)
    kernel = (
        new.kernel
        if new.kernel == old.kernel
        else f"{old.kernel or 'none'} → {new.kernel or 'none'}"
    )
    same = {n: t.bits for n, t in old.tensors.items()} == {
        n: t.bits for n, t in new.tensors.items()
    }
    tensor, notes = new.tensor, [new.note] if new.note else []
    redrawn = new.drawn != old.drawn
    grown = [n for n in new.tensors if not redrawn and _grew(old, new, n, factor)]
    if new.verdict == "fault":
        word = "fault"
        if old.verdict == "fault":
            notes.append("a fault in the old run, too")
    elif grown and new.verdict == "agree":
        word, tensor = "drift", max(grown, key=lambda name: new.tensors[name].R or 0)
    elif old.verdict == "fault":
        word, tensor = "fixed", old.tensor
        notes.append(old.note)
    elif redrawn:
        word = "masks"
    elif not same and new.verdict == "untrusted":
        word = "untrusted"
    elif kernel != new.kernel:
        word = "kernel"
    else:
        word = "equal" if same else "moved"
    note = "; ".join(filter(None, notes))
    return Change(*new.key, word, tensor, _R(old, tensor), _R(new, tensor), kernel, note)


def _R(row: Row, tensor: str) -> float | None:
    """R of one tensor; that of the row where torch raised and there is none."""
    return row.tensors[tensor].R if tensor in row.tensors else row.R if not row.tensors else None


def _grew(old: Row, new: Row, name: str, factor: float) -> bool:
    """Whether a tensor's error drifted; unknown for one that could not tell, or was not there."""
    was, now = old.tensors.get(name), new.tensors[name].R
    if was is None or was.R is None or now is None:
        return False
    return now > LEAST and now > factor * was.R


def closer(old: Run, new: Run) -> Closer:
    """Which run is nearer to the truth where their bits differ."""
    before = {row.key: row for row in old.rows}
    pairs = [
        (was.R, now.R)
        for row in new.rows
        if row.key in before and row.drawn == before[row.key].drawn
        for name, now in row.tensors.items()
        if (was := before[row.key].tensors.get(name)) is not None
        and was.bits != now.bits
        and was.R is not None
        and now.R is not None
    ]
    if not pairs:
        return Closer(0, 0, 0, None, None)
    return Closer(
        len(pairs),
        sum(a < b for a, b in pairs),
        sum(b < a for a, b in pairs),
        median(a for a, _ in pairs),
        median(b for _, b in pairs),
    )


def counts(changes: Iterable[Change]) -> dict[tuple[str, str], Counter[str]]:
    """How many of each word, by path and dtype."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for c in changes:
        found.setdefault((c.path, c.dtype), Counter())[c.word] += 1
    return found


def surroundings(old: Run, new: Run) -> list[tuple[str, str, str]]:
    """What of the environment is not the same: name, old, new; and of the plan, in one line."""
    both = unlike(old.environment, new.environment)
    if old.oracle != new.oracle:
        both.append(("bptt-oracle itself", old.oracle, new.oracle))
    if planned := unlike(old.plan, new.plan):
        before, after = ("; ".join(f"{one[0]} {one[i]}" for one in planned) for i in (1, 2))
        both.append(("plan", before, after))
    return both


def apart(
    new: Run, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Of the tensors kept by both runs: the largest difference, relative to the largest element."""
    found = {}
    for row in new.rows:
        for name in (name_of(row, tensor) for tensor in row.tensors):
            if name not in before or name not in after or before[name].shape != after[name].shape:
                continue
            a, b = before[name].astype(np.longdouble), after[name].astype(np.longdouble)
            with np.errstate(invalid="ignore"):
                size = np.abs(a).max(initial=0)
                found[name] = float(np.abs(b - a).max(initial=0) / (size or 1))
    return found


def failed(changes: Iterable[Change], fail_on: str) -> bool:
    """Whether the comparison fails: for a fault, and for drift where that is asked."""
    wrong = {"fault", "drift"} if fail_on == "drift" else {"fault"}
    return any(c.word in wrong for c in changes)


def as_json(
    old: Run, new: Run, changes: list[Change], apart: Mapping[str, float]
) -> dict[str, Any]:
    """All of it, for machines."""
    total: Counter[str] = Counter(c.word for c in changes)
    return {
        "format": "bptt-oracle comparison",
        "schema": 1,
        "counts": {word: total[word] for word in WORDS},
        "by path": [
            {"path": path, "dtype": dtype, **found}
            for (path, dtype), found in counts(changes).items()
        ],
        "closer to the truth": closer(old, new)._asdict(),
        "environment": [{"name": n, "old": a, "new": b} for n, a, b in surroundings(old, new)],
        "values apart": dict(apart),
        "changes": [c._asdict() for c in changes if c.word != "equal"],
    }
