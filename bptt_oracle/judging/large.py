"""What is different for a case of production size: where its arrays are kept, and in which portions
they are read.

The errors of seven evaluations of an LSTM with H = 512, three layers, two directions, T = 1000 and
B = 64 take 6 GB. An array of LARGE bytes or more is written to a file without a name, in the folder
for temporary files (TMPDIR), and read from there; the system keeps of it in memory what it has room
for.
"""

import tempfile
from collections.abc import Iterator

import numpy as np

LARGE = 2**26  # bytes of an array that is kept in a file
BLOCK = 2**20  # elements that are read at a time


def keep(array: np.ndarray) -> np.ndarray:
    """The array; a read-only copy in a temporary file if it is large and its dtype is a number's.
    Raises OSError if the disk is full."""
    array = np.asarray(array)  # no subclass
    if array.nbytes < LARGE or array.dtype.kind == "O":
        return array
    with tempfile.TemporaryFile() as file:
        # Written, not mapped for writing: a full disk is then an exception, and not SIGBUS.
        np.ascontiguousarray(array).tofile(file)
        file.flush()
        return np.asarray(np.memmap(file, array.dtype, "r", shape=array.shape))


def slices_of(size: int, most: int = BLOCK) -> Iterator[slice]:
    """The slices of an axis of this size, at most `most` elements each."""
    for start in range(0, size, most):
        yield slice(start, min(start + most, size))
