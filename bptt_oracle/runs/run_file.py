"""A run as a file: the environment, and of every result R and the exact bits of each tensor.

    RUN.json   format, schema, checksum; then oracle, limit, environment, plan, values, results
    RUN.npz    the tensors themselves, of the cases asked for

What is read may have been cut off, altered, or written by a later version, and may be large
without end: every such file is refused in one sentence, and no more of it is parsed than has
proved to be as it was written. The checksum is that of every byte after the first line. Nothing
is pickled.
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
from typing import Any, NamedTuple

import numpy as np

from .files import finite, write_bytes, write_text

FORMAT, SCHEMA = "bptt-oracle run", 1
LARGEST = 32 * 2**20  # bytes; in memory it takes some ten times as much
LARGEST_VALUES = 256 * 2**20
_HEAD = re.compile(
    rb'\{"format": "bptt-oracle run", "schema": (\d{1,9}), "checksum": "([0-9a-f]{16})",\n'
)
_START = f'{{"format": "{FORMAT}"'.encode()
JOURNAL = re.compile(rb'[0-9a-f]{16} \{"')  # how one begins, whatever happened to its head
_ENOUGH = 2000  # bytes; the name of the first array is among them
_NO_ARRAYS = (
    ValueError,
    OSError,
    EOFError,
    OverflowError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)
VERDICTS = ("agree", "fault", "untrusted")


class BadRun(ValueError):
    """A file that is no run, or not one as it was written."""


class LaterRun(BadRun):
    """A run as a later version has written it: whole, and not to be read here."""


class Tensor(NamedTuple):
    """R, None where the case cannot tell, and a digest of type, shape and every bit."""

    R: float | None
    bits: str


class Row(NamedTuple):
    """One case on one path in one dtype."""

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
    drawn: str  # the digest of the dropout masks; empty for none
    tensors: dict[str, Tensor]

    @property
    def key(self) -> tuple[str, str, str]:
        """What is compared with what."""
        return self.case, self.path, self.dtype


class Run(NamedTuple):
    """A run in memory; `values` is the checksum of the file that holds them, empty for none."""

    oracle: str  # the code that judged
    limit: float  # the R above which it said fault
    environment: dict[str, Any]
    plan: dict[str, Any]
    rows: list[Row]
    values: str = ""


def unlike(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What of two plans, or of two environments, is not the same: name, old, new."""
    both = [(n, *(_spelled(one.get(n)) for one in (old, new))) for n in {**old, **new}]
    return [(n, a, b) for n, a, b in both if a != b]


def _spelled(value: Any) -> str:
    """A value as a sentence has it."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def digest(*parts: bytes) -> str:
    """16 hexadecimal digits that stand for these bytes."""
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        found.update(part)
    return found.hexdigest()


def bits(value: np.ndarray) -> str:
    """The digest of an array: its type, its shape, every bit of its numbers."""
    return digest(f"{value.dtype.str}{value.shape}".encode(), np.ascontiguousarray(value).tobytes())


def beside(path: Path) -> Path:
    """Where the values of a run lie."""
    return path.with_name(path.name.removesuffix(".json") + ".npz")


def write(path: Path, run: Run, values: dict[str, np.ndarray]) -> None:
    """Write the values, then the run. Raises OSError, and BadRun for more than can be read."""
    if values:
        buffer = io.BytesIO()
        np.savez(buffer, **values)  # type: ignore[arg-type]
        write_bytes(beside(path), buffer.getvalue())
        run = run._replace(values=digest(buffer.getvalue()))
    rows = ",\n  ".join(json.dumps(row_as_json(row)) for row in run.rows)
    head = run._asdict()
    del head["rows"]
    rest = f' {json.dumps(finite(head))[1:-1]},\n "results": [\n  {rows}\n]}}\n'
    if len(rest) > LARGEST:
        raise BadRun(
            f"the run takes {len(rest) >> 20} MB and no more than {LARGEST >> 20} are read back; "
            "record fewer --cases or along fewer paths"
        )
    first = {"format": FORMAT, "schema": SCHEMA, "checksum": digest(rest.encode())}
    write_text(path, f"{json.dumps(first)[:-1]},\n{rest}")


def is_run(path: Path) -> bool:
    """Whether a file is a run, perhaps damaged, or empty; one that speaks of runs is none. Raises
    OSError."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(len(_START))
    return not start or start == _START


def recorded(path: Path) -> str:
    """What of a run a file is, in words; empty where it is none. Raises OSError."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        start = file.read(_ENOUGH)
    if start.startswith(_START):
        return "a recorded run"
    if JOURNAL.match(start):
        return "the journal of an unfinished run"
    return "an archive of values" if start.startswith(b"PK") and b".npy" in start else ""


def read(path: Path) -> Run:
    """The run in a file. Raises BadRun, its message one sentence."""
    raw = _bytes(path, LARGEST)
    start = raw[:200]
    schema = re.search(rb'"schema":\s*(\d{1,9})\b', start)
    if FORMAT.encode() not in start or schema is None:
        raise BadRun(f"{path} is not a run; `bptt-oracle record -o` writes one")
    if int(schema[1]) > SCHEMA:
        raise LaterRun(
            f"{path} follows schema {int(schema[1])}, and this bptt-oracle knows none after "
            f"{SCHEMA}: read it with the version that wrote it, or a later one"
        )
    head = _HEAD.match(raw)
    if head is None or head[2].decode() != digest(raw[head.end() :]):
        raise BadRun(f"{path} was cut off or changed since it was written; record it again")
    if raw.count(b"[") + raw.count(b"{") > len(raw) // 8:  # each takes much memory, once parsed
        raise BadRun(f"{path} is not a run: it is nearly all brackets")
    try:
        return _from_json(json.loads(raw))
    except (ValueError, RecursionError) as error:
        raise BadRun(f"{path} is not a run: {error}") from None


def read_values(path: Path, run: Run) -> dict[str, np.ndarray]:
    """The tensors kept with a run, by `name_of`; none where none were. Raises BadRun."""
    if not run.values:
        return {}
    file = beside(path)
    raw = _bytes(file, LARGEST_VALUES)
    if digest(raw) != run.values:
        raise BadRun(f"{file} does not hold the values of {path}: its checksum does not fit")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as members:
            if sum(member.file_size for member in members.infolist()) > LARGEST_VALUES:
                raise BadRun(f"{file} holds more than {LARGEST_VALUES >> 20} MB of values")
        with np.load(io.BytesIO(raw), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except _NO_ARRAYS as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadRun(f"{file} does not hold arrays: {said}") from None


def name_of(row: Row, tensor: str) -> str:
    """The name of one tensor among the values."""
    return " ".join((*row.key, tensor))


def _bytes(path: Path, largest: int) -> bytes:
    """A file's bytes, if they are not too many."""
    try:
        if not path.is_file():
            raise BadRun(f"{path} is no file")
        if path.stat().st_size > largest:
            raise BadRun(f"{path} has {path.stat().st_size >> 20} MB; a run has {largest >> 20}")
        return path.read_bytes()
    except OSError as error:
        raise BadRun(f"{path} cannot be read: {error.strerror}") from None


def row_as_json(row: Row) -> dict[str, Any]:
    """A row as JSON has it; R to six digits, infinities spelled out."""
    tensors = {name: [_short(t.R), t.bits] for name, t in row.tensors.items()}
    R, seconds = _short(row.R), round(row.seconds, 6)
    short: dict[str, Any] = finite(row._asdict() | {"R": R, "seconds": seconds, "tensors": tensors})
    return short


def _short(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.6g}")


def _from_json(body: dict[str, Any]) -> Run:
    results = _typed(body, "results", list)
    rows = [row_from_json(row, f"results[{i}]") for i, row in enumerate(results)]
    if len({row.key for row in rows}) < len(rows):
        raise ValueError("a result stands in it twice")
    environment, plan = _typed(body, "environment", dict), _typed(body, "plan", dict)
    for place, found in (("environment", environment), ("plan", plan)):
        if not all(f"{name} {_spelled(value)}".isprintable() for name, value in found.items()):
            raise ValueError(f"{place} holds control characters")
    return Run(
        _typed(body, "oracle", str),
        _number(body, "limit"),
        environment,
        plan,
        rows,
        _typed(body, "values", str),
    )


def row_from_json(row: Any, place: str = "") -> Row:
    """The row. Raises ValueError where it is none."""
    if not isinstance(row, dict):
        raise ValueError(f"{place} is no object")
    words = {
        name: _typed(row, name, str, place)
        for name in (
            "case",
            "path",
            "dtype",
            "verdict",
            "tensor",
            "place",
            "kernel",
            "note",
            "drawn",
        )
    }
    if words["verdict"] not in VERDICTS:
        raise ValueError(f"{place}.verdict is none of {', '.join(VERDICTS)}")
    tensors = {}
    for name, pair in _typed(row, "tensors", dict, place).items():
        if not (isinstance(pair, list) and len(pair) == 2 and name.isprintable()):
            raise ValueError(f"{place}.tensors is no object of pairs")
        R = None if pair[0] is None else _number({name: pair[0]}, name, f"{place}.tensors")
        tensors[name] = Tensor(R, _typed({name: pair[1]}, name, str, f"{place}.tensors"))
    return Row(
        **words,
        R=_number(row, "R", place),
        seconds=_number(row, "seconds", place),
        tensors=tensors,
    )


def _typed(body: dict[str, Any], name: str, kind: type, place: str = "") -> Any:
    value = body.get(name)
    if type(value) is not kind or (isinstance(value, str) and not value.isprintable()):
        raise ValueError(f"{f'{place}.{name}'.strip('.')} is no {kind.__name__}")
    return value


def _number(body: dict[str, Any], name: str, place: str = "") -> float:
    """A number that is not negative, infinity included, which JSON spells as a word."""
    value = body.get(name)
    if value in ("inf", "nan"):
        return math.inf
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise ValueError(f"{f'{place}.{name}'.strip('.')} is no number from 0 on")
    try:
        return float(value)
    except OverflowError:
        return math.inf
