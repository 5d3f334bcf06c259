"""Runs for the tests of record and compare: a small plan, and runs made of invented results."""

import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bptt_oracle.processes.chunks import Answer
from bptt_oracle.runs.opening import open_runs
from bptt_oracle.runs.record import Plan
from bptt_oracle.runs.row import Row, TensorDigest, digest
from bptt_oracle.runs.run import check_run, read_rows
from bptt_oracle.runs.schema import Head, KeptTensor, to_record
from bptt_oracle.runs.store import FinishedCase, finish, write_database

PLAN = Plan(cases=6, seed=3, dtypes=["float32"], paths=["cpu-native", "cpu-cells"], values=[])
CASE = "GRU.T6.B3.I4.H5.L1.time.h0.output+h_n.generic.s"
FOLDER = tempfile.TemporaryDirectory(prefix="bptt-oracle.tests.")


def row(
    number=0, R=0.5, bits="same", verdict="agree", kernel="native", note="", R_h_n=0.4, masks=""
):
    """A row whose tensor `output` has this R, and the digest of the text `bits`."""
    tensors = {
        "output": TensorDigest(R, digest(bits.encode())),
        "h_n": TensorDigest(R_h_n, digest(b"h_n")),
    }
    return Row(
        case=f"{CASE}{number}",
        path="cpu-native",
        dtype="float32",
        verdict=verdict,
        R=R,
        tensor="output",
        place="time 0 row 0 unit 1",
        kernel=kernel,
        seconds=0.001,
        note=note,
        masks=masks,
        tensors={} if note else tensors,
    )


def finish_case(case, **options):
    """Ten results of a case, invented, which take no time. Worker processes import it."""
    rows = [row()._replace(case=case.id, path=f"path {n}") for n in range(10)]
    return FinishedCase(case.id, rows, [])


def finish_chunk(cases, task):
    """The same for a chunk, in chunks of 40 cases."""
    return Answer([finish_case(case) for case in cases], [], 0.2 * len(cases), {"torch": "2"})


def made_up(*rows, **facts):
    """A run of these rows, in a file of its own, with the facts that `write_run` takes."""
    file = Path(tempfile.mkdtemp(dir=FOLDER.name), "run")
    write_run(file, *rows, **facts)
    return check_run(file)


def write_run(
    file,
    *rows,
    torch="2.13.0",
    code="0123456789abcdef",
    kept=None,
    environments=None,
    **planned,
):
    """Write a finished run; whether its results are possible is not checked. `kept` has the values
    of tensors of the first row, and `environments` replaces the only one."""
    environments = environments or [{"torch": torch, "threads": 1}]
    head = Head(code, 16.0, environments, PLAN.facts | planned)
    tensors = [
        (rows[0].case, KeptTensor(rows[0].path, rows[0].dtype, name, value))
        for name, value in (kept or {}).items()
    ]
    write_database(file, head, map(to_record, rows), tensors)
    finish(file)


def write_both(folder, pair=None):
    """Two runs as the files `old` and `new` of a folder."""
    paths = folder / "old", folder / "new"
    for path, run in zip(paths, pair or ONE_OF_EACH, strict=True):
        shutil.copy(run.file, path)
    return paths


class Recorded(NamedTuple):
    """A run in memory."""

    code_digest: str
    limit: float
    environments: list[dict[str, Any]]
    plan: dict[str, Any]
    rows: list[Row]

    @property
    def environment(self) -> dict[str, Any]:
        """The only environment of the run."""
        (facts,) = self.environments
        return facts


def read(file):
    """All of a run, of this or an older version. Raises BadRun."""
    with open_runs(file) as (run,):
        return Recorded(*run[2:6], list(read_rows(run)))


def untimed(run):
    """The run without its times, which differ between two equal runs."""
    return run._replace(rows=[r._replace(seconds=0.0) for r in run.rows])


def kept_values(file):
    """The kept tensors of a run of this version: case, path, dtype and tensor, and the values."""
    values = {}
    with closing(sqlite3.connect(file)) as connection:
        for *key, part, form, shape, content in connection.execute("SELECT * FROM kept"):
            values.setdefault(tuple(key), []).append((part, form, shape, content))
    return {
        key: np.frombuffer(b"".join(p[3] for p in parts), parts[0][1]).reshape(
            tuple(map(int, parts[0][2].split()))
        )
        for key, parts in values.items()
    }


HOSTILE = "]]> <script>alert(1)</script> | `x` [bold] & \"'"
ONE_OF_EACH = (
    made_up(
        *(row(n) for n in range(4)),
        row(4, R=0.5),
        row(5),
        row(6),
        row(7, R=20, verdict="fault"),
        row(8),
        torch="2.4.1",
    ),
    made_up(
        *(row(n) for n in range(4)),
        row(4, R=3.0, bits="b"),
        row(5, R=20, bits="b", verdict="fault", note=HOSTILE),
        row(6, R=0.25, bits="b"),
        row(7, bits="b"),
        row(9),
    ),
)
EXPECTED = Counter(equal=4, drift=1, fault=1, moved=1, fixed=1, removed=1, new=1)
