"""Write a run as text: JSON or CSV, for people and for git.

The JSON is that of schema 2, which `read_json` reads: a small run in git can be compared. The
values of kept tensors are not in it. A run with several environments has two members more, which
earlier versions ignore: `environments`, and in a result `environment`, the number of its own.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from typing import Any

from .files import replace_nonfinite
from .read_json import FORMAT, SCHEMA
from .row import Row
from .run import Run, read_rows

FIELDS = tuple(name for name in Row._fields if name != "tensors")


def to_json(run: Run) -> Iterator[str]:
    """Yield the pieces of the JSON. The run is read twice, because the first line has the checksum
    of the others. Raises BadRun."""
    hasher = hashlib.blake2b(digest_size=8)
    for piece in _after_first_line(run):
        hasher.update(piece.encode())
    first = {"format": FORMAT, "schema": SCHEMA, "checksum": hasher.hexdigest()}
    yield f"{json.dumps(first)[:-1]},\n"
    yield from _after_first_line(run)


def _after_first_line(run: Run) -> Iterator[str]:
    several = len(run.environments) > 1
    head = {
        "code_digest": run.code_digest,
        "limit": run.limit,
        "environment": run.environment,
        **({"environments": run.environments} if several else {}),
        "plan": run.plan,
        "values": "",
    }
    yield f' {json.dumps(replace_nonfinite(head))[1:-1]},\n "results": [\n  '
    for i, row in enumerate(read_rows(run)):
        result = row_to_json(row)
        if not several:
            del result["environment"]
        yield (",\n  " if i else "") + json.dumps(result)
    yield "\n]}\n"


def row_to_json(row: Row) -> dict[str, Any]:
    """A result for `json.dumps`: infinities as strings."""
    tensors = {name: [t.R, t.bits] for name, t in row.tensors.items()}
    finite: dict[str, Any] = replace_nonfinite(row._asdict() | {"tensors": tensors})
    return finite


def to_csv(run: Run) -> Iterator[str]:
    """Yield the lines of the CSV, the first with the names of the columns. After the columns of
    the result, `tensors` has R of each tensor as name=R. Raises BadRun."""
    yield _line([*FIELDS, "tensors"])
    for row in read_rows(run):
        tensors = (f"{n}={'' if t.R is None else f'{t.R:g}'}" for n, t in row.tensors.items())
        yield _line([*(getattr(row, name) for name in FIELDS), " ".join(tensors)])


def _line(cells: list[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
