"""Batches of variable length: Hypothesis draws the lengths and the seed of the arrays."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from support.strategies import all_lengths, seeds

DTYPES = ["float32", "float64", "longdouble", "complex128", "int64", "bool"]


class Batch(NamedTuple):
    """A padded batch [B, T, ·] or [T, B, ·], whose padding is random too."""

    padded: np.ndarray
    lengths: list[int]
    batch_first: bool

    @property
    def rows(self):
        """The batch as [B, T, ·], a view."""
        return self.padded if self.batch_first else self.padded.swapaxes(0, 1)

    @property
    def steps(self):
        """T."""
        return self.rows.shape[1]


@st.composite
def batches(draw, dtype=None, extra=2, least=1):
    """A batch of any lengths, trailing axes, layout and dtype; T may exceed the longest length.

    All values are small integers, so that sums of products are exact and identities hold bitwise.
    """
    lengths = [n + least - 1 for n in draw(all_lengths)]
    axes = draw(st.sampled_from([(), (4,), (2, 3), (1, 3, 2)]))
    T = max(lengths) + draw(st.integers(0, extra))
    rng = np.random.default_rng(draw(seeds))
    batch_first = draw(st.booleans())
    outer = (len(lengths), T) if batch_first else (T, len(lengths))
    padded = integers(rng, outer + axes, dtype or draw(st.sampled_from(DTYPES)))
    return Batch(padded, lengths, batch_first)


def integers(rng, shape, dtype):
    """Random integers from −9 to 9 in that dtype; complex ones have an imaginary part too."""
    values = rng.integers(-9, 10, shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.integers(-9, 10, shape)
    return values.astype(dtype)
