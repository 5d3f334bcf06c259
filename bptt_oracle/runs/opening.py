"""Open runs for reading: databases, and the JSON files of older versions."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .read_json import is_json, read_json
from .row import BadRun
from .run import Run, check_run, not_finished, reading, unfinished_path


@contextmanager
def open_runs(*files: Path) -> Iterator[list[Run]]:
    """Check the runs, of this or an older version, at the same time. Raises BadRun."""
    older = []
    for file in files:
        require_file(file)
        with reading(file):
            older.append(is_json(file))
    with ExitStack() as stack:
        with ThreadPoolExecutor(len(files)) as pool:
            checked = [
                None if json else pool.submit(check_run, file)
                for file, json in zip(files, older, strict=True)
            ]
        yield [
            stack.enter_context(read_json(file)) if run is None else run.result()
            for file, run in zip(files, checked, strict=True)
        ]


def require_file(file: Path) -> None:
    """Raise BadRun unless this is a file; if there is an unfinished run of its name, say so."""
    if file.is_file():
        return
    if not file.exists() and file.name and unfinished_path(file).is_file():
        raise not_finished(file)
    raise BadRun(f"{file} is not a file")
