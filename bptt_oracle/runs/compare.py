"""Compare two runs, result by result: by R, which measures the error, and by the bits.

    fault           the new run is wrong; the note says if the old one was, too
    crash           the new run's process ended before there was a result
    known           the new run deviates as its implementation is expected to; no fault
    drift           R of some tensor grew to more than DRIFT_FACTOR times its old value, and is
                    above DRIFT_FLOOR
    untrusted       different bits in an ill-conditioned case, which cannot tell which are better
    masks           the old torch drew different dropout masks from the seed, so the two results
                    answer different questions
    inputs          the model of a user got other weights, another batch or other random numbers
    kernel          a different kernel ran, whatever the bits
    moved           different bits, within rounding
    fixed           the old run was wrong, also as expected, or crashed, and the new one is not and
                    did not
    new, removed    only one of the runs has the result
    equal           every bit of every tensor is equal

Both runs are measured against the same truth, because it does not come from the framework.

A run that many workers recorded may have several environments. A result may then differ because
another kind of machine computed it, so the changes are also counted by pairs of environments.

The results are read one after the other, and only counts and the worst changes are kept, so that
the memory does not depend on their number.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from heapq import nlargest
from typing import NamedTuple

import numpy as np

from ..implementations.loading import is_torch_path
from .closeness import Closeness, Distances
from .pairs import DRIFT_FACTOR, DRIFT_FLOOR, REMOVED, open_pairs
from .row import MODEL, WRONG, BadRun, Row, differences, format_value
from .run import Run

LISTED = ("fault", "crash", "drift", "fixed")  # listed one by one; the others are only counted
MOST_PATHS = 10_000  # and dtypes, that are counted
MOST_KERNELS = 1000  # changes of kernels that are counted
WORDS = {
    "fault": "fault",
    "crash": "crash",
    "known": "known deviation",
    "drift": "drift",
    "untrusted": "untrusted",
    "fixed": "fixed",
    "masks": "different dropout masks",
    "inputs": "different inputs",
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
        """The case, path or implementation, and dtype as arguments of `bptt-oracle replay`."""
        option = "--path" if is_torch_path(self.path) else "--implementation"
        return f"{self.case} {option} {self.path} --dtype {self.dtype}"


class Comparison(NamedTuple):
    """What is kept of all changes."""

    counts: dict[tuple[str, str], Counter[str]]  # by path and dtype, the number of each word
    closeness: Closeness
    worst: dict[str, list[Change]]  # of each word in LISTED, those with the largest new R
    kernels: Counter[tuple[str, str, str]]  # path, dtype and "old → new"
    environments: dict[tuple[int, int], Counter[str]]  # the same by the numbers of the old and the
    # new environment, of the results that both runs have; empty if each run has only one

    @property
    def total(self) -> Counter[str]:
        """The number of changes of each word."""
        return sum(self.counts.values(), Counter())


class _Tally:
    """Counts changes, and keeps the worst of them."""

    def __init__(self, most: int | None) -> None:
        self.counts: dict[tuple[str, str], Counter[str]] = {}
        self.worst: dict[str, list[Change]] = {word: [] for word in LISTED}
        self.kernels: Counter[tuple[str, str, str]] = Counter()
        self.environments: dict[tuple[int, int], Counter[str]] = {}
        self._most = most

    def count(self, path: str, dtype: str, word: str, number: int = 1) -> None:
        """Count changes of a word. Raises ValueError for a text that may not be printed, and for
        more paths than any run has."""
        if (path, dtype) not in self.counts:
            _require_printable(path, dtype)
            if len(self.counts) == MOST_PATHS:
                raise ValueError(f"it has more than {MOST_PATHS} paths and dtypes")
        self.counts.setdefault((path, dtype), Counter())[word] += number

    def count_kernel(self, path: str, dtype: str, change: str, number: int = 1) -> None:
        """Count changes of a kernel, "old → new"; only the first of many different ones."""
        if len(self.kernels) < MOST_KERNELS or (path, dtype, change) in self.kernels:
            _require_printable(change)
            self.kernels[path, dtype, change] += number

    def count_environments(self, pair: tuple[int, int], word: str, number: int = 1) -> None:
        """Count changes of a word between an old and a new environment."""
        self.environments.setdefault(pair, Counter())[word] += number

    def add(self, one: Change) -> None:
        """Count a change, and keep it if it is one of the worst. Raises ValueError."""
        self.count(one.path, one.dtype, one.word)
        if "→" in one.kernel:
            self.count_kernel(one.path, one.dtype, one.kernel)
        kept = self.worst.get(one.word)
        if kept is not None:
            kept.append(one)
            if self._most is not None and len(kept) > 100 + 2 * self._most:
                kept[:] = _worst(kept, self._most)

    def comparison(self, closeness: Closeness) -> Comparison:
        """What was counted and kept."""
        worst = {
            word: _worst(kept, len(kept) if self._most is None else self._most)
            for word, kept in self.worst.items()
        }
        return Comparison(self.counts, closeness, worst, self.kernels, self.environments)


def compare(
    old: Run, new: Run, factor: float = DRIFT_FACTOR, most: int | None = None
) -> Comparison:
    """Compare two runs, and keep at most `most` changes of each word in LISTED. Raises BadRun, also
    if the runs have no result in common, because then nothing is compared."""
    tally, distances, common = _Tally(most), Distances(), 0
    several = max(len(old.environments), len(new.environments)) > 1
    with open_pairs(old, new) as pairs:
        for batch in pairs.batches(factor):
            common += len(batch.keys) - batch.words.count(REMOVED)
            distances.add(batch.old, batch.new)
            for (path, dtype, word), number in batch.counts.items():
                if word not in ("", REMOVED):
                    tally.count(path, dtype, word, number)
            for (path, dtype, before, after), number in batch.kernels.items():
                tally.count_kernel(path, dtype, _changed(before, after), number)
            for (was, now, word), number in batch.environments.items() if several else ():
                if word not in ("", REMOVED):
                    pair = _require_environment(old, was), _require_environment(new, now)
                    tally.count_environments(pair, word, number)
            for key, word in zip(batch.keys, batch.words, strict=True):
                if word in ("", REMOVED):
                    rows = pairs.rows(key)
                    one = change(*rows, factor)
                    tally.add(one)
                    if several and rows[0] is not None and rows[1] is not None:
                        pair = rows[0].environment, rows[1].environment
                        tally.count_environments(pair, one.word)
                    distances.add(*_moved(*rows))
            for row in batch.added:
                tally.add(change(None, row, factor))
    if not common and tally.counts:
        raise BadRun(_nothing_in_common(old, new))
    return tally.comparison(distances.closeness())


def changes(
    old: Run, new: Run, factor: float = DRIFT_FACTOR, without: Container[str] = ()
) -> Iterator[Change]:
    """Yield the change of every result, in the order of their keys but for those that only the new
    run has. Changes whose word is in `without` may be left out. Raises BadRun."""
    with open_pairs(old, new) as pairs:
        for batch in pairs.batches(factor):
            for key, word in zip(batch.keys, batch.words, strict=True):
                if not word or word not in without:
                    yield change(*pairs.rows(key), factor)
            yield from (change(None, row, factor) for row in batch.added)


def _require_environment(run: Run, number: object) -> int:
    """The number of an environment. Raises ValueError unless the run has it."""
    if type(number) is not int or not 0 <= number < max(1, len(run.environments)):
        raise ValueError("a result has the number of no environment")
    return number


def _changed(old: str, new: str) -> str:
    """The change of a kernel."""
    return f"{old or 'none'} → {new or 'none'}"


def _require_printable(*texts: str) -> None:
    """Raise ValueError for anything that a terminal or a page would not show."""
    if not all(isinstance(text, str) and text.isprintable() for text in texts):
        raise ValueError("a result has a text that is not printable")


def _worst(found: Iterable[Change], most: int) -> list[Change]:
    """The changes with the largest new R, the first of equal ones first."""
    return nlargest(most, found, key=lambda change: change.new or 0)


def _nothing_in_common(old: Run, new: Run) -> str:
    reasons = "; ".join(f"{n} {a} and {b}" for n, a, b in differences(old.plan, new.plan))
    advice = "record both with the same --cases, --seed, --dtype and --path"
    if not reasons:
        reasons = "although their plans are the same"
        advice = "compare paths or implementations that compute the same cases"
    return f"the runs have no result in common ({reasons}); {advice}"


def _moved(old: Row | None, new: Row | None) -> tuple[np.ndarray, np.ndarray]:
    """R of the tensors of a pair whose bits moved; none if a run has none of the pair, or if the
    dropout masks differ."""
    if old is None or new is None or old.masks != new.masks:
        return np.zeros(0), np.zeros(0)
    names = [name for name in new.tensors if name in old.tensors]
    pairs = [
        (before.R, after.R)
        for before, after in ((old.tensors[name], new.tensors[name]) for name in names)
        if before.bits != after.bits and before.R is not None and after.R is not None
    ]
    numbers = np.array(pairs, float).reshape(-1, 2)
    return numbers[:, 0], numbers[:, 1]


def change(old: Row | None, new: Row | None, factor: float = DRIFT_FACTOR) -> Change:
    """How one result changed; one of the two may be missing."""
    if new is None:
        assert old is not None
        return Change(*old.key, "removed", old.tensor, old.R, None, old.kernel, old.note)
    if old is None:
        word = new.verdict if new.verdict in ("fault", "crash") else "new"
        return Change(*new.key, word, new.tensor, None, new.R, new.kernel, new.note)
    kernel = new.kernel if new.kernel == old.kernel else _changed(old.kernel, new.kernel)
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
    elif new.verdict == "known deviation":
        word = "known"
        if old.verdict == "fault":
            notes.append("a fault in the old run")
    elif drifted and new.verdict == "agree":
        word, tensor = "drift", max(drifted, key=lambda name: new.tensors[name].R or 0)
    elif old.verdict in (*WRONG, "crash"):
        word, tensor = "fixed", old.tensor
        notes.append(old.note)
    elif different_masks:
        word = "inputs" if new.case.startswith(MODEL) else "masks"
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


def name_environments(run: Run) -> list[str]:
    """The facts of each environment of a run that are not the same in all of them, as text."""
    differing = [name for name in run.environment if _differs(run, name)]
    return [
        ", ".join(f"{name} {format_value(facts.get(name))}" for name in differing) or "the only one"
        for facts in run.environments
    ]


def _differs(run: Run, name: str) -> bool:
    return len({format_value(facts.get(name)) for facts in run.environments}) > 1


def is_failure(words: Iterable[str], fail_on: Iterable[str]) -> bool:
    """Whether the comparison fails: for a fault, and for each word in `fail_on`."""
    return not {"fault", *fail_on}.isdisjoint(words)
