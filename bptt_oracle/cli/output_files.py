"""Files that a command writes: checked before its work, written after it, or during it."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..reports.console import write_output
from .exits import stop

if TYPE_CHECKING:
    from ..reports.check_report import CheckReport


def require_writable(file: Path | None) -> None:
    """Stop before the work if the file could not be written, or replaced, after it. None is
    accepted."""
    if file is None:
        return
    _require_place(file)
    if not os.access(file if file.exists() and not file.is_file() else file.parent, os.W_OK):
        stop(f"{file} cannot be written: Permission denied")


def require_writable_in_place(file: Path | None) -> None:
    """Stop before the work if the file could not be changed in its place, as one to which lines are
    appended. None is accepted."""
    if file is None:
        return
    _require_place(file)
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        stop(f"{file} cannot be written: Permission denied")


def _require_place(file: Path) -> None:
    """Stop unless the name is that of a file in a folder that exists."""
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


def require_report_file(file: Path | None) -> None:
    """Stop before the work if a report could not be written to the file, or would overwrite a
    recorded run. None is accepted."""
    require_writable(file)
    if file is not None:
        _require_not_recorded(file)


def require_report_files(*files: Path | None) -> None:
    """`require_report_file` of each. Stops if two are the same."""
    named = [file for file in files if file is not None]
    for number, file in enumerate(named):
        require_report_file(file)
        if os.path.realpath(file) in map(os.path.realpath, named[:number]):
            stop(f"{file} would be written twice; name another file")


def write_reports(
    report: "CheckReport", json: Path | None, junit: Path | None, markdown: bool
) -> None:
    """Write what a check found to the files that are named, and Markdown to standard output."""
    from ..reports.check_report import check_to_json, check_to_junit, check_to_markdown

    if json is not None:
        save(json, check_to_json(report))
    if junit is not None:
        save_pieces(junit, check_to_junit(report))
    if markdown:
        write_output(check_to_markdown(report))


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
