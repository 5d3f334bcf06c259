"""The file format of a run: the environment, and for each result R and a digest of each tensor.

    RUN.json   format, schema, checksum; then code_digest, limit, environment, plan, values, results
    RUN.npz    the tensors of the cases that `record --values` names

A file may have been cut off or changed, may come from a newer version, or may be arbitrarily large.
Each such file raises BadRun with a one-sentence message, and nothing is parsed before its size and
its checksum have been verified. The checksum covers every byte after the first line. Nothing is
pickled.

Schema 1, read but no longer written, has other keys: `oracle` is now `code_digest`, and in a result
`road` is now `kernel` and `drawn` is now `masks`.
"""

import hashlib
import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .files import replace_nonfinite, write_bytes, write_text

FORMAT, SCHEMA = "bptt-oracle run", 2
LARGEST = 32 * 2**20  # bytes; parsed, it takes about ten times as much memory
LARGEST_VALUES = 256 * 2**20
_HEAD = re.compile(
    rb'\{"format": "bptt-oracle run", "schema": (\d{1,9}), "checksum": "([0-9a-f]{16})",\n'
)
_START = f'{{"format": "{FORMAT}"'.encode()
JOURNAL = re.compile(rb'[0-9a-f]{16} \{"')  # the first bytes of a journal, even of a damaged one
_ARCHIVE_START = 2000  # bytes; enough for the name of the first array
_ARCHIVE_ERRORS = (
    ValueError,
    OSError,
    EOFError,
    OverflowError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)
VERDICTS = ("agree", "fault", "untrusted")
_TEXTS = ("case", "path", "dtype", "verdict", "tensor", "place", "kernel", "note", "masks")
_RENAMED_IN_RUN = {"oracle": "code_digest"}  # schema 1: schema 2
_RENAMED_IN_ROW = {"road": "kernel", "drawn": "masks"}


class BadRun(ValueError):
    """A file that is not a run, or that is damaged; or a run that cannot be recorded there."""


class NewerRun(BadRun):
    """A run that a newer version has written, which this one cannot read."""


class TensorDigest(NamedTuple):
    """R, None if the tensor is ill-conditioned; and a digest of dtype, shape and every bit."""

    R: float | None
    bits: str


class Row(NamedTuple):
    """One case on one path in one dtype, as the file has it."""

    case: str
    path: str
    dtype: str
    verdict: str
    R: float
    tensor: str
    place: str
    kernel: str
    seconds: float
    note: str
    masks: str  # the digest of the dropout masks; empty if there are none
    tensors: dict[str, TensorDigest]

    @property
    def key(self) -> tuple[str, str, str]:
        """Rows of two runs with the same key are compared."""
        return self.case, self.path, self.dtype


class Run(NamedTuple):
    """A run in memory."""

    code_digest: str  # of the code that recorded it
    limit: float  # R above it was a fault
    environment: dict[str, Any]
    plan: dict[str, Any]
    rows: list[Row]
    values: str = ""  # the checksum of the values file; empty if there is none


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The entries that differ between two plans, or two environments: name, old, new."""
    both = [(n, *(_format_value(one.get(n)) for one in (old, new))) for n in {**old, **new}]
    return [(n, a, b) for n, a, b in both if a != b]


def _format_value(value: Any) -> str:
    """A value of a plan or environment as text."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def digest(*parts: bytes) -> str:
    """A BLAKE2b digest of these bytes, 16 hexadecimal digits."""
    hasher = hashlib.blake2b(digest_size=8)
    for part in parts:
        hasher.update(part)
    return hasher.hexdigest()


def array_digest(value: np.ndarray) -> str:
    """The digest of an array: its dtype, its shape, every bit of its elements."""
    return digest(f"{value.dtype.str}{value.shape}".encode(), np.ascontiguousarray(value).tobytes())


def values_path(path: Path) -> Path:
    """The values file of a run file: RUN.npz of RUN.json."""
    return path.with_name(path.name.removesuffix(".json") + ".npz")


def write(path: Path, run: Run, values: dict[str, np.ndarray]) -> None:
    """Write the values, then the run. Raises OSError, and BadRun if the run is too large to be
    read."""
    if values:
        buffer = io.BytesIO()
        np.savez(buffer, **values)  # type: ignore[arg-type]
        write_bytes(values_path(path), buffer.getvalue())
        run = run._replace(values=digest(buffer.getvalue()))
    rows = ",\n  ".join(json.dumps(row_to_json(row)) for row in run.rows)
    head = run._asdict()
    del head["rows"]
    rest = f' {json.dumps(replace_nonfinite(head))[1:-1]},\n "results": [\n  {rows}\n]}}\n'
    if len(rest) > LARGEST:
        raise BadRun(
            f"the run takes {len(rest) >> 20} MB, and at most {LARGEST >> 20} can be read; "
            "record fewer --cases or fewer paths"
        )
    first = {"format": FORMAT, "schema": SCHEMA, "checksum": digest(rest.encode())}
    write_text(path, f"{json.dumps(first)[:-1]},\n{rest}")


def is_run(path: Path) -> bool:
    """Whether a file is empty or starts as a run does, damaged or not. A file that only mentions
    the format is not a run. Raises OSError."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(len(_START))
    return not start or start == _START


def recorded_content(path: Path) -> str:
    """Which of the files that `record` writes this is, in words; empty for any other file. Raises
    OSError."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        start = file.read(_ARCHIVE_START)
    if start.startswith(_START):
        return "a recorded run"
    if JOURNAL.match(start):
        return "the journal of an unfinished run"
    return "an archive of values" if start.startswith(b"PK") and b".npy" in start else ""


def read(path: Path) -> Run:
    """Read a run of schema 1 or 2. Raises BadRun, its message one sentence."""
    raw = _read_bytes(path, LARGEST)
    start = raw[:200]
    schema = re.search(rb'"schema":\s*(\d{1,9})\b', start)
    if FORMAT.encode() not in start or schema is None:
        raise BadRun(f"{path} is not a run; `bptt-oracle record -o` writes one")
    if int(schema[1]) > SCHEMA:
        raise NewerRun(
            f"{path} follows schema {int(schema[1])}, and this bptt-oracle reads schemas up to "
            f"{SCHEMA}: read it with the version that wrote it, or a later one"
        )
    head = _HEAD.match(raw)
    if head is None or head[2].decode() != digest(raw[head.end() :]):
        raise BadRun(f"{path} was cut off or changed since it was written; record it again")
    if raw.count(b"[") + raw.count(b"{") > len(raw) // 8:  # parsed, each takes much memory
        raise BadRun(f"{path} is not a run: it consists almost only of brackets")
    try:
        body = json.loads(raw)
        return _from_json(_upgrade(body) if int(head[1]) == 1 else body)
    except (ValueError, RecursionError) as error:
        raise BadRun(f"{path} is not a run: {error}") from None


def read_values(path: Path, run: Run) -> dict[str, np.ndarray]:
    """The tensors recorded with a run, by `tensor_key`; empty if there are none. Raises BadRun."""
    if not run.values:
        return {}
    file = values_path(path)
    raw = _read_bytes(file, LARGEST_VALUES)
    if digest(raw) != run.values:
        raise BadRun(f"{file} does not hold the values of {path}: its checksum is another")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as members:
            if sum(member.file_size for member in members.infolist()) > LARGEST_VALUES:
                raise BadRun(f"{file} holds more than {LARGEST_VALUES >> 20} MB of values")
        with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except _ARCHIVE_ERRORS as error:
        message = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadRun(f"{file} does not hold arrays: {message}") from None


def tensor_key(row: Row, tensor: str) -> str:
    """The name of a tensor in the values file."""
    return " ".join((*row.key, tensor))


def _read_bytes(path: Path, largest: int) -> bytes:
    """The bytes of a file of at most `largest` bytes. Raises BadRun."""
    try:
        if not path.is_file():
            raise BadRun(f"{path} is not a file")
        size = path.stat().st_size
        if size > largest:
            raise BadRun(f"{path} has {size >> 20} MB; a run has at most {largest >> 20}")
        return path.read_bytes()
    except OSError as error:
        raise BadRun(f"{path} cannot be read: {error.strerror}") from None


def row_to_json(row: Row) -> dict[str, Any]:
    """A row for `json.dumps`: R to six digits, infinities as strings."""
    tensors = {name: [_round(t.R), t.bits] for name, t in row.tensors.items()}
    R, seconds = _round(row.R), round(row.seconds, 6)
    fields = row._asdict() | {"R": R, "seconds": seconds, "tensors": tensors}
    finite: dict[str, Any] = replace_nonfinite(fields)
    return finite


def _round(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.6g}")


def _upgrade(body: dict[str, Any]) -> dict[str, Any]:
    """A run of schema 1 with the keys of schema 2."""
    results = body.get("results")
    if isinstance(results, list):
        results = [
            _rename(row, _RENAMED_IN_ROW) if isinstance(row, dict) else row for row in results
        ]
    return _rename(body, _RENAMED_IN_RUN) | {"results": results}


def _rename(body: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in body.items()}


def _from_json(body: dict[str, Any]) -> Run:
    results = _list(body, "results")
    rows = [row_from_json(row, f"results[{i}]") for i, row in enumerate(results)]
    if len({row.key for row in rows}) < len(rows):
        raise ValueError("it holds a result twice")
    environment, plan = _dict(body, "environment"), _dict(body, "plan")
    for place, entries in (("environment", environment), ("plan", plan)):
        if not all(f"{n} {_format_value(value)}".isprintable() for n, value in entries.items()):
            raise ValueError(f"{place} holds control characters")
    return Run(
        _text(body, "code_digest"),
        _number(body, "limit"),
        environment,
        plan,
        rows,
        _text(body, "values"),
    )


def row_from_json(row: object, place: str = "") -> Row:
    """The row that `row_to_json` wrote. Raises ValueError, which names `place`, for anything
    else."""
    if not isinstance(row, dict):
        _reject("", "an object", place)
    texts = {name: _text(row, name, place) for name in _TEXTS}
    if texts["verdict"] not in VERDICTS:
        _reject("verdict", f"one of {', '.join(VERDICTS)}", place)
    tensors = {}
    for name, pair in _dict(row, "tensors", place).items():
        if not (isinstance(pair, list) and len(pair) == 2 and name.isprintable()):
            _reject("tensors", "an object of pairs", place)
        inside = f"{place}.tensors"
        R = None if pair[0] is None else _number({name: pair[0]}, name, inside)
        tensors[name] = TensorDigest(R, _text({name: pair[1]}, name, inside))
    return Row(
        **texts,
        R=_number(row, "R", place),
        seconds=_number(row, "seconds", place),
        tensors=tensors,
    )


def _reject(name: str, expected: str, place: str) -> NoReturn:
    raise ValueError(f"{f'{place}.{name}'.strip('.')} is not {expected}")


def _text(body: dict[str, Any], name: str, place: str = "") -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value.isprintable():
        _reject(name, "a printable string", place)
    return value


def _list(body: dict[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if not isinstance(value, list):
        _reject(name, "a list", "")
    return value


def _dict(body: dict[str, Any], name: str, place: str = "") -> dict[str, Any]:
    value = body.get(name)
    if not isinstance(value, dict):
        _reject(name, "an object", place)
    return value


def _number(body: dict[str, Any], name: str, place: str = "") -> float:
    """A number ≥ 0; infinity, which is written as a string, included."""
    value = body.get(name)
    if value in ("inf", "nan"):
        return math.inf
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        _reject(name, "a number of at least 0", place)
    try:
        return float(value)
    except OverflowError:
        return math.inf
