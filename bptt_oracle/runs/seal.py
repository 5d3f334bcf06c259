"""The seal of a finished run: the last bytes of the file, the SHA-256 of all bytes before them.

SQLite ignores what follows the pages of a database. A run that was cut off or changed, also by a
program that opened it as a database, does not have the digest of its seal.
"""

import hashlib
import os
from pathlib import Path

START = b"bptt-oracle seal "
LENGTH = len(START) + 64 + 1
_BLOCK = 2**20


def seal(file: Path) -> None:
    """Append the seal, and wait until the file is on the disk. Raises OSError."""
    line = START + _digest(file, file.stat().st_size).encode() + b"\n"
    with file.open("ab") as content:
        content.write(line)
        content.flush()
        os.fsync(content.fileno())


def is_sealed(file: Path) -> bool:
    """Whether a file ends with the digest of its other bytes. Raises OSError."""
    size = file.stat().st_size - LENGTH
    if size < 0:
        return False
    with file.open("rb") as content:
        content.seek(size)
        last = content.read()
    return last.startswith(START) and last == START + _digest(file, size).encode() + b"\n"


def _digest(file: Path, size: int) -> str:
    """The digest of the first `size` bytes."""
    hasher = hashlib.sha256()  # fast: many processors have instructions for it
    with file.open("rb") as content:
        while size > 0 and (block := content.read(min(_BLOCK, size))):
            hasher.update(block)
            size -= len(block)
    return hasher.hexdigest()
