"""Files that a command writes: checked before its work, written after it."""

import os
from collections.abc import Iterable
from pathlib import Path

from .exits import stop


def require_writable(file: Path | None) -> None:
    """Stop before the work if the file could not be written after it. None is accepted."""
    if file is None:
        return
    if not file.name:
        stop(f"{file} cannot be written: it is a folder; name a file in it")
    try:
        file.stat()
    except FileNotFoundError:
        pass
    except OSError as error:  # a loop of links, a name that is too long
        stop(f"{file} cannot be written: {error.strerror}; choose another name")
    if file.is_dir():
        stop(f"{file} cannot be written: it is a folder; name a file in it")
    if not file.parent.is_dir():
        stop(f"{file} cannot be written: its folder does not exist; choose a folder that does")
    if not os.access(file if file.exists() and not file.is_file() else file.parent, os.W_OK):
        stop(f"{file} cannot be written: Permission denied")


def require_report_file(file: Path | None) -> None:
    """Stop before the work if a report could not be written to the file, or would overwrite a
    recorded run. None is accepted."""
    require_writable(file)
    if file is not None:
        _require_not_recorded(file)


def _require_not_recorded(file: Path) -> None:
    """Stop if the file holds recorded results: they took long, and their torch may be gone."""
    from ..runs.file_kinds import recorded_content

    try:
        kind = recorded_content(file)
    except OSError as error:
        stop(f"{file} cannot be read and may be a run: {error.strerror}; choose another name")
    if kind:
        stop(f"{file} is {kind} and was left unchanged; choose another name")


def save(file: Path, text: str) -> None:
    """Write the whole file, or stop with the reason."""
    save_pieces(file, [text])


def save_pieces(file: Path, pieces: Iterable[str]) -> None:
    """Write the whole file, a piece at a time, or stop with the reason."""
    from ..runs.files import write_pieces

    try:
        write_pieces(file, pieces)
    except OSError as error:
        stop(f"{file} cannot be written: {error.strerror}")
