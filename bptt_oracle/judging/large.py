"""What is different for a case of production size: where its arrays are kept, and in which portions
they are read.

The errors of seven evaluations of an LSTM with H = 512, three layers, two directions, T = 1000 and
B = 64 take 6 GB. Those of an evaluation that take LARGE bytes or more are written to a file without
a name, in the folder for temporary files (TMPDIR), and read from there; the system keeps of them in
memory what it has room for.
"""

import tempfile
from collections.abc import Iterator

import numpy as np

LARGE = 2**26  # bytes of the arrays of an evaluation that are kept in a file
BLOCK = 2**20  # elements that are read at a time


def keep(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays by name; as read-only copies in one temporary file if they are large together, and
    their dtype is a number's. Raises OSError if the disk is full."""
    arrays = {name: np.asarray(array) for name, array in arrays.items()}  # no subclass
    size = sum(array.nbytes for array in arrays.values())
    if size < LARGE or any(array.dtype.kind == "O" for array in arrays.values()):
        return arrays
    with tempfile.TemporaryFile() as file:
        # Written, not mapped for writing: a full disk is then an exception, and not SIGBUS.
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).data)
        file.flush()
        content = np.asarray(np.memmap(file, np.uint8, "r"))  # one: each keeps the file open
    start, kept = 0, {}
    for name, array in arrays.items():
        part = content[start : start + array.nbytes]
        kept[name] = part.view(array.dtype).reshape(array.shape)
        start += array.nbytes
    return kept


def slices_of(size: int, most: int = BLOCK) -> Iterator[slice]:
    """The slices of an axis of this size, at most `most` elements each."""
    for start in range(0, size, most):
        yield slice(start, min(start + most, size))
