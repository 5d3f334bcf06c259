"""Which of two runs is closer to the truth, over the tensors whose bits moved.

The numbers may be more than fit into memory. R is therefore counted in bins, each as wide as one
part in 32 768 of its value, and the medians are exact to that.
"""

from typing import NamedTuple

import numpy as np

_DROPPED = 8  # of the 23 bits behind the point of a float32
_BINS = 2 ** (31 - _DROPPED)


class Closeness(NamedTuple):
    """Of the tensors whose bits moved: how many are closer to the truth in either run."""

    moved: int
    old: int
    new: int
    median_old: float | None  # of R
    median_new: float | None


class Distances:
    """R of pairs of tensors, of which only counts are kept."""

    def __init__(self) -> None:
        self._old, self._new = _Bins(), _Bins()
        self._closer = [0, 0]

    def add(self, old: np.ndarray, new: np.ndarray) -> None:
        """Count R of tensors in the old and in the new run, finite or not, but not NaN."""
        self._closer[0] += int(np.count_nonzero(old < new))
        self._closer[1] += int(np.count_nonzero(new < old))
        self._old.add(old)
        self._new.add(new)

    def closeness(self) -> Closeness:
        """What was counted."""
        old, new = self._closer
        return Closeness(self._old.total, old, new, self._old.median(), self._new.median())


class _Bins:
    """How many numbers ≥ 0 are in each bin. The bits of a float32, read as an integer, are in the
    order of the numbers, and so are the first of them."""

    def __init__(self) -> None:
        self._counts: np.ndarray | None = None  # made for the first number: 64 MB
        self.total = 0

    def add(self, numbers: np.ndarray) -> None:
        if not numbers.size:
            return
        if self._counts is None:
            self._counts = np.zeros(_BINS, np.int64)
        with np.errstate(over="ignore"):
            bits = numbers.astype(np.float32).view(np.uint32)
        np.add.at(self._counts, (bits >> _DROPPED) & (_BINS - 1), 1)
        self.total += numbers.size

    def median(self) -> float | None:
        """The median, as the lower end of its bin; the mean of the middle two if they are two."""
        if self._counts is None:
            return None
        places = np.cumsum(self._counts)
        middle = [(self.total - 1) // 2, self.total // 2]
        bins = np.searchsorted(places, middle, side="right").astype(np.uint32)
        return float((bins << _DROPPED).view(np.float32).astype(float).mean())
