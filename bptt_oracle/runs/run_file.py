"""The file format of a run: the environment, and for each result R and a digest of each tensor.

    RUN.json   format, schema, checksum; then code_digest, limit, environment, plan, values, results
    RUN.npz    the tensors of the cases that `record --values` names

A file may have been cut off or changed, may come from a newer version, or may be arbitrarily large.
Each such file raises BadRun with a one-sentence message, and nothing is parsed before its size and
its checksum have been verified. The checksum covers every byte after the first line. Nothing is
pickled. Results are parsed one by one, and arrays are loaded one by one, so that the memory is
bounded; docs/reliability.md states the bound.

Schema 1, read but no longer written, has other keys: `oracle` is now `code_digest`, and in a result
`road` is now `kernel` and `drawn` is now `masks`.
"""

import hashlib
import io
import json
import math
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..processes.failures import CommandError
from .files import printable, replace_nonfinite, write_bytes

FORMAT, SCHEMA = "bptt-oracle run", 2
LARGEST = 32 * 2**20  # bytes; parsed, it takes at most about twelve times as much memory
LARGEST_HEAD = 2**20  # all but the results
LARGEST_RESULT = 2**16
LARGEST_VALUES = 256 * 2**20  # of the archive, and of its arrays
MOST_ARRAYS = 50_000
_BLOCK = 2**20
_MEMBER = b"PK\x01\x02"  # starts the entry of an archive's directory that describes a member
_HEAD = re.compile(
    rb'\{"format": "bptt-oracle run", "schema": (\d{1,9}), "checksum": "([0-9a-f]{16})",\n'
)
_START = f'{{"format": "{FORMAT}"'.encode()
JOURNAL = re.compile(rb'[0-9a-f]{16} \{"')  # the first bytes of a journal, even of a damaged one
_ARCHIVE_START = 2000  # bytes; enough for the name of the first array
VERDICTS = ("agree", "fault", "untrusted", "crash")
_DIGEST = re.compile("[0-9a-f]{16}")
_RESULTS = re.compile(r'"results":\s*\[\s*')
_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder()
_TEXTS = ("case", "path", "dtype", "verdict", "tensor", "place", "kernel", "note", "masks")
_RENAMED_IN_RUN = {"oracle": "code_digest"}  # schema 1: schema 2
_RENAMED_IN_ROW = {"road": "kernel", "drawn": "masks"}


class BadRun(CommandError, ValueError):
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
    return path.parent / (path.name.removesuffix(".json") + ".npz")


def write(path: Path, run: Run, values: dict[str, np.ndarray]) -> None:
    """Write the values, then the run. Raises OSError, and BadRun if the run could not be read
    again, for example because it is too large; nothing is then written."""
    archive = b""
    if values:
        buffer = io.BytesIO()
        np.savez(buffer, **values)  # type: ignore[arg-type]
        archive = buffer.getvalue()
        if len(archive) > LARGEST_VALUES:
            raise BadRun(
                f"the values take {len(archive) >> 20} MB, and at most {LARGEST_VALUES >> 20} can "
                "be read; name fewer --values"
            )
        run = run._replace(values=digest(archive))
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
    content = f"{json.dumps(first)[:-1]},\n{rest}".encode()
    _parse(path, content)
    if archive:
        write_bytes(values_path(path), archive)
    write_bytes(path, content)


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
    return _parse(path, _read_bytes(path, LARGEST))


def _parse(path: Path, raw: bytes) -> Run:
    """The run in the content of the file `path`. Raises BadRun."""
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
    if not raw.isascii():
        raise BadRun(f"{path} is not a run: it holds bytes that are not ASCII")
    try:
        return _from_text(raw.decode("ascii"), upgrade=int(head[1]) == 1)
    except (ValueError, RecursionError) as error:
        raise BadRun(f"{path} is not a run: {error}") from None


def _from_text(text: str, upgrade: bool) -> Run:
    """The run in a JSON text whose last member is `results`. Raises ValueError."""
    found = _RESULTS.search(text, 0, LARGEST_HEAD)
    if found is None:
        _reject("results", "a list at the end", "")
    head = json.loads(text[: found.start()].rstrip().removesuffix(",") + "}")
    rows = []
    for i, row in enumerate(_results(text, found.end())):
        if upgrade and isinstance(row, dict):
            row = _rename(row, _RENAMED_IN_ROW)
        rows.append(row_from_json(row, f"results[{i}]"))
    return _from_json(_rename(head, _RENAMED_IN_RUN) if upgrade else head, rows)


def _results(text: str, at: int) -> Iterator[Any]:
    """The elements of the list that starts before `at`, and after which the run ends. Each is
    parsed only when the one before has been used. Raises ValueError."""
    more = text[at : at + 1] != "]"
    while more:
        end = text.find("\n", at, at + LARGEST_RESULT)
        part = text[at : end if end >= 0 else at + LARGEST_RESULT]
        try:
            row, length = _DECODER.raw_decode(part)
        except json.JSONDecodeError as error:
            if end < 0 and len(part) == LARGEST_RESULT:
                raise ValueError(f"a result is longer than {LARGEST_RESULT} bytes") from None
            raise ValueError(f"{error.msg} at character {at + error.pos}") from None
        yield row
        at = _skip(text, at + length)
        more = text[at : at + 1] == ","
        at = _skip(text, at + more)
    if not re.compile(r"\]\s*\}\s*").fullmatch(text, at):
        raise ValueError(f"it does not end after its results, at character {at}")


def _skip(text: str, at: int) -> int:
    """The position of the next character that is not white space."""
    found = _SPACE.match(text, at)
    return found.end() if found else at


class Values(Mapping[str, np.ndarray]):
    """The arrays of a values file by `tensor_key`, each loaded from the file when it is needed.
    Raises BadRun if that fails."""

    def __init__(self, file: Path | None, names: Mapping[str, str]) -> None:
        self._file, self._members = file, names  # by name, the member of the archive

    def __getitem__(self, name: str) -> np.ndarray:
        member = self._members[name]
        assert self._file is not None
        try:
            with zipfile.ZipFile(self._file) as archive, archive.open(member) as stream:
                array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
                return array
        except Exception as error:
            raise _not_arrays(self._file, error) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def read_values(path: Path, run: Run) -> Values:
    """The tensors recorded with a run; empty if there are none. The dtypes and shapes are checked,
    and their sizes against that of the file, before an array is loaded. Raises BadRun."""
    if not run.values:
        return Values(None, {})
    file = values_path(path)
    _require_size(file, LARGEST_VALUES)
    checksum, members = _scan(file)
    if checksum != run.values:
        raise BadRun(f"{file} does not hold the values of {path}: its checksum is another")
    if members > MOST_ARRAYS:
        raise BadRun(f"{file} holds more than {MOST_ARRAYS} arrays")
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > LARGEST_VALUES:
                raise BadRun(f"{file} holds more than {LARGEST_VALUES >> 20} MB of values")
            for entry in entries:
                _check_array(archive, entry)
    except BadRun:
        raise
    except Exception as error:  # a damaged archive raises errors of many types
        raise _not_arrays(file, error) from None
    return Values(file, {entry.filename.removesuffix(".npy"): entry.filename for entry in entries})


def _check_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Raise ValueError unless a member is an array of floating-point numbers, all of it there."""
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
        size = math.prod(shape) * dtype.itemsize
        if dtype.kind != "f" or dtype.itemsize > 8:
            raise ValueError(f"{entry.filename} has dtype {dtype}")
        if min(shape, default=0) < 0 or stream.tell() + size != entry.file_size:
            raise ValueError(f"{entry.filename} has another size than its header states")


def _not_arrays(file: Path, error: Exception) -> BadRun:
    message = printable((str(error).splitlines() or [type(error).__name__])[0])
    return BadRun(f"{file} does not hold arrays: {message}")


def file_digest(file: Path) -> str:
    """The `digest` of a file's content. Raises OSError."""
    with file.open("rb") as content:
        hasher = hashlib.blake2b(digest_size=8)
        while block := content.read(_BLOCK):
            hasher.update(block)
    return hasher.hexdigest()


def _scan(file: Path) -> tuple[str, int]:
    """The digest of an archive and, at least, the number of its members. Opening the archive takes
    memory for each member, before the number is known. Raises BadRun."""
    hasher, members, last = hashlib.blake2b(digest_size=8), 0, b""
    try:
        with file.open("rb") as content:
            while block := content.read(_BLOCK):
                hasher.update(block)
                members += (last + block).count(_MEMBER)
                last = block[1 - len(_MEMBER) :]
    except OSError as error:
        raise BadRun(f"{file} cannot be read: {error.strerror}") from None
    return hasher.hexdigest(), members


def tensor_key(row: Row, tensor: str) -> str:
    """The name of a tensor in the values file."""
    return " ".join((*row.key, tensor))


def _read_bytes(path: Path, largest: int) -> bytes:
    """The bytes of a file of at most `largest` bytes. Raises BadRun."""
    _require_size(path, largest)
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadRun(f"{path} cannot be read: {error.strerror}") from None


def _require_size(path: Path, largest: int) -> None:
    """Raise BadRun unless `path` is a file of at most `largest` bytes."""
    try:
        if not path.is_file():
            raise BadRun(f"{path} is not a file")
        size = path.stat().st_size
    except OSError as error:
        raise BadRun(f"{path} cannot be read: {error.strerror}") from None
    if size > largest:
        raise BadRun(f"{path} has {size >> 20} MB; a run has at most {largest >> 20}")


def row_to_json(row: Row) -> dict[str, Any]:
    """A row for `json.dumps`: R to six digits, infinities as strings."""
    tensors = {name: [_round(t.R), t.bits] for name, t in row.tensors.items()}
    R, seconds = _round(row.R), round(row.seconds, 6)
    fields = row._asdict() | {"R": R, "seconds": seconds, "tensors": tensors}
    finite: dict[str, Any] = replace_nonfinite(fields)
    return finite


def _round(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.6g}")


def _rename(body: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in body.items()}


def _from_json(head: dict[str, Any], rows: list[Row]) -> Run:
    """The run with these rows. Raises ValueError."""
    if len({row.key for row in rows}) < len(rows):
        raise ValueError("it holds a result twice")
    environment, plan = _dict(head, "environment"), _dict(head, "plan")
    for place, entries in (("environment", environment), ("plan", plan)):
        if not all(f"{n} {_format_value(value)}".isprintable() for n, value in entries.items()):
            raise ValueError(f"{place} holds control characters")
    limit = _number(head, "limit")
    if not 0 < limit < math.inf:
        _reject("limit", "a positive number", "")
    for i, row in enumerate(rows):
        _check_verdict(row, limit, f"results[{i}]")
    code, values = _text(head, "code_digest"), _text(head, "values")
    return Run(code, limit, environment, plan, rows, values)


def _check_verdict(row: Row, limit: float, place: str) -> None:
    """Raise ValueError if R contradicts the verdict: it is above the limit exactly in a fault, and
    in a crash, which has no tensors and a note."""
    worst = max((t.R for t in row.tensors.values() if t.R is not None), default=0.0)
    largest = max(row.R, worst)
    if row.verdict == "crash":
        contradicts = bool(row.tensors) or not row.note
    elif row.verdict == "fault":
        contradicts = largest <= limit
    elif row.verdict == "agree":
        contradicts = largest > limit
    else:  # every tensor is ill-conditioned, and R is that of one of them
        contradicts = worst > limit
    if contradicts:
        raise ValueError(f"{place}.verdict is {row.verdict}, which its R contradicts")


def row_from_json(row: object, place: str = "") -> Row:
    """The row that `row_to_json` wrote. Raises ValueError, which names `place`, for anything
    else."""
    if not isinstance(row, dict):
        _reject("", "an object", place)
    texts = {name: sys.intern(_text(row, name, place)) for name in _TEXTS}
    if texts["verdict"] not in VERDICTS:
        _reject("verdict", f"one of {', '.join(VERDICTS)}", place)
    tensors = {}
    for name, pair in _dict(row, "tensors", place).items():
        if not (isinstance(pair, list) and len(pair) == 2 and name.isprintable()):
            _reject("tensors", "an object of pairs", place)
        inside = f"{place}.tensors"
        R = None if pair[0] is None else _number({name: pair[0]}, name, inside)
        bits = _text({name: pair[1]}, name, inside)
        if not _DIGEST.fullmatch(bits):
            _reject(name, "16 hexadecimal digits", inside)
        tensors[sys.intern(name)] = TensorDigest(R, bits)
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
