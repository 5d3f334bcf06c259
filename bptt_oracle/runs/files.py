"""Write files atomically: a reader sees the old content or the new, never a part."""

import json
import math
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..processes.interrupt import temporary


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, atomically. Raises OSError."""
    write_text(path, to_json(value))


def to_json(value: Any) -> str:
    """The value as JSON text; infinities and NaN become strings."""
    return json.dumps(replace_nonfinite(value), indent=1) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, atomically. Raises OSError."""
    write_pieces(path, [text])


def write_pieces(path: Path, pieces: Iterable[str]) -> None:
    """Write pieces of text to a temporary file in the folder of `path`, then rename it. A path that
    exists and is not a regular file, such as /dev/stdout, is written to directly. A file that
    exists keeps its permissions, and a new one has those that the umask leaves. Raises OSError."""
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            for piece in pieces:
                file.write(piece.encode())
        return
    with written_aside(path) as aside, aside.open("wb") as file:
        for piece in pieces:
            file.write(piece.encode())


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """An empty file in the folder of `path`, which replaces `path` at the end of the block, unless
    that raises. Raises OSError."""
    path = Path(os.path.realpath(path))  # replaces the target of a link, not the link
    with temporary(path.with_name(f".bptt-oracle.{secrets.token_hex(8)}")) as aside:
        aside.open("xb").close()
        yield aside
        if path.exists():
            os.chmod(aside, path.stat().st_mode & 0o777)
        os.replace(aside, path)


def printable(text: str) -> str:
    """The text with a space for each control character and each byte that is not UTF-8."""
    return "".join(c if c.isprintable() else " " for c in text)


def replace_nonfinite(value: Any) -> Any:
    """The value with infinities and NaN as strings, because JSON has no numbers for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: replace_nonfinite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [replace_nonfinite(item) for item in value]
    return value
