"""Which of the files that `record` writes, or wrote in an earlier version, a file is."""

import re
from pathlib import Path

from .read_json import START
from .run import kind_of

_JOURNAL = re.compile(rb'[0-9a-f]{16} \{"')  # of an earlier version; its first bytes
_LONGEST_START = 2000  # bytes; enough for the name of the first array of an archive


def is_run(file: Path) -> bool:
    """Whether a file is empty or starts as a finished run does, damaged or not. A file that only
    mentions the format is not a run. Raises OSError."""
    if not file.is_file():
        return False
    start = _start(file)
    kind = kind_of(file)
    return not start or start.startswith(START) or (kind is not None and kind.finished)


def recorded_content(file: Path) -> str:
    """What a recorded file is, in words; empty for any other file. Raises OSError."""
    if not file.is_file():
        return ""
    start, kind = _start(file), kind_of(file)
    if kind is not None:
        return "a recorded run" if kind.finished else "an unfinished run"
    if start.startswith(START):
        return "a recorded run"
    if _JOURNAL.match(start):
        return "the journal of an unfinished run"
    return "an archive of values" if start.startswith(b"PK") and b".npy" in start else ""


def _start(file: Path) -> bytes:
    with file.open("rb") as content:
        return content.read(_LONGEST_START)
