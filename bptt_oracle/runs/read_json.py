"""Read a run of an older version, which was a JSON file, and write it as a database.

    RUN.json   format, schema, checksum; then code_digest, limit, environment, plan, values, results
    RUN.npz    the tensors of the cases that `record --values` named

Nothing is parsed before its size and its checksum have been verified. The checksum covers every
byte after the first line. Nothing is pickled. Results are parsed one by one, and arrays are loaded
one by one, so that the memory is bounded.

Schema 1 has other keys: `oracle` is now `code_digest`, and in a result `road` is now `kernel` and
`drawn` is now `masks`. `export --json` writes schema 2.
"""

import hashlib
import json
import math
import re
import sqlite3
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..processes.interrupt import temporary
from .files import printable
from .row import TEXTS, BadRun, NewerRun, Row, TensorDigest, digest, reject_contradictions
from .run import Run, reading
from .schema import MOST_ENVIRONMENTS, Head, KeptTensor, reject_bad_head, to_record
from .store import write_database

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
START = f'{{"format": "{FORMAT}"'.encode()
_RESULTS = re.compile(r'"results":\s*\[\s*')
_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder()
_RENAMED_IN_RUN = {"oracle": "code_digest"}  # schema 1: schema 2
_RENAMED_IN_ROW = {"road": "kernel", "drawn": "masks"}


def is_json(file: Path) -> bool:
    """Whether a file mentions at its beginning that it is a run of an older version, damaged or
    not. Raises OSError."""
    with file.open("rb") as content:
        return FORMAT.encode() in content.read(200)


@contextmanager
def read_json(file: Path) -> Iterator[Run]:
    """A run of schema 1 or 2, written as a temporary database. Raises BadRun."""
    with temporary(Path(tempfile.mkdtemp(prefix="bptt-oracle."))) as folder:
        yield Run(file, folder / "run", *_convert(file, folder / "run"))


def _convert(file: Path, database: Path) -> Head:
    """Write a run as a database, one result after the other. Raises BadRun."""
    with reading(file):
        _require_size(file, LARGEST)
        head, values, rows = _parse(file, file.read_bytes())
        try:
            write_database(database, head, map(to_record, rows), _read_values(file, values))
        except sqlite3.IntegrityError:
            raise BadRun(f"{file} is not a run: it holds a result twice") from None
        except RecursionError as error:
            raise BadRun(f"{file} is not a run: {error}") from None
        return head


def values_path(file: Path) -> Path:
    """The values file of a JSON run: RUN.npz of RUN.json."""
    return file.parent / (file.name.removesuffix(".json") + ".npz")


def _parse(file: Path, raw: bytes) -> tuple[Head, str, Iterator[Row]]:
    """The head, the checksum of the values and the results in the content of a file. Raises
    BadRun and ValueError."""
    start = raw[:200]
    schema = re.search(rb'"schema":\s*(\d{1,9})\b', start)
    if schema is None:
        raise BadRun(f"{file} is not a run; `bptt-oracle record -o` writes one")
    if int(schema[1]) > SCHEMA:
        raise NewerRun(
            f"{file} follows schema {int(schema[1])}, and this bptt-oracle reads JSON of schemas "
            f"up to {SCHEMA}: read it with the version that wrote it, or a later one"
        )
    head = _HEAD.match(raw)
    if head is None or head[2].decode() != digest(raw[head.end() :]):
        raise BadRun(f"{file} was cut off or changed since it was written; record it again")
    if not raw.isascii():
        raise BadRun(f"{file} is not a run: it holds bytes that are not ASCII")
    try:
        return _from_text(raw.decode("ascii"), upgrade=int(head[1]) == 1)
    except RecursionError as error:
        raise BadRun(f"{file} is not a run: {error}") from None


def _from_text(text: str, upgrade: bool) -> tuple[Head, str, Iterator[Row]]:
    """The run in a JSON text whose last member is `results`. Raises ValueError, also while the
    results are read."""
    found = _RESULTS.search(text, 0, LARGEST_HEAD)
    if found is None:
        _reject("results", "a list at the end", "")
    entries = json.loads(text[: found.start()].rstrip().removesuffix(",") + "}")
    entries = _rename(entries, _RENAMED_IN_RUN) if upgrade else entries
    if not isinstance(entries, dict):
        _reject("", "an object", "the run")
    if not isinstance(entries.get("environment"), dict):
        _reject("environment", "an object", "")
    entries = {"environments": [entries["environment"]]} | entries
    head = Head._make(entries.get(name) for name in Head._fields)
    reject_bad_head(head)
    return head, _text(entries, "values"), _rows(_results(text, found.end()), head, upgrade)


def _rows(results: Iterator[Any], head: Head, upgrade: bool) -> Iterator[Row]:
    for i, result in enumerate(results):
        if upgrade and isinstance(result, dict):
            result = _rename(result, _RENAMED_IN_ROW)
        place = f"results[{i}]"
        row = row_from_json(result, place)
        try:
            reject_contradictions(row, head.limit)
        except ValueError as error:
            raise ValueError(f"{place}.{error}") from None
        yield row


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


def _read_values(file: Path, values: str) -> Iterator[tuple[str, KeptTensor]]:
    """The kept tensors, each with its case; none if `values` is empty. The dtypes and shapes are
    checked, and their sizes against that of the archive, before an array is loaded. Raises
    BadRun."""
    if not values:
        return iter(())
    archive = values_path(file)
    _require_size(archive, LARGEST_VALUES)
    with reading(archive):
        checksum, members = _scan(archive)
    if checksum != values:
        raise BadRun(f"{archive} does not hold the values of {file}: its checksum is another")
    if members > MOST_ARRAYS:
        raise BadRun(f"{archive} holds more than {MOST_ARRAYS} arrays")
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            if sum(entry.file_size for entry in entries) > LARGEST_VALUES:
                raise BadRun(f"{archive} holds more than {LARGEST_VALUES >> 20} MB of values")
            for entry in entries:
                _check_array(opened, entry)
    except BadRun:
        raise
    except Exception as error:  # a damaged archive raises errors of many types
        raise _not_arrays(archive, error) from None
    return _load(archive, [entry.filename for entry in entries])


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


def _load(file: Path, names: list[str]) -> Iterator[tuple[str, KeptTensor]]:
    """The arrays of an archive that have the name of a tensor of a result. Raises BadRun."""
    for name in dict.fromkeys(names):
        words = name.removesuffix(".npy").split(" ")
        if len(words) != 4:
            continue
        try:
            with zipfile.ZipFile(file) as archive, archive.open(name) as stream:
                value: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
        except Exception as error:
            raise _not_arrays(file, error) from None
        yield words[0], KeptTensor(words[1], words[2], words[3], value)


def _not_arrays(file: Path, error: Exception) -> BadRun:
    message = printable((str(error).splitlines() or [type(error).__name__])[0])
    return BadRun(f"{file} does not hold arrays: {message}")


def _scan(file: Path) -> tuple[str, int]:
    """The digest of an archive and, at least, the number of its members. Opening the archive takes
    memory for each member, before the number is known. Raises OSError."""
    hasher, members, last = hashlib.blake2b(digest_size=8), 0, b""
    with file.open("rb") as content:
        while block := content.read(_BLOCK):
            hasher.update(block)
            members += (last + block).count(_MEMBER)
            last = block[1 - len(_MEMBER) :]
    return hasher.hexdigest(), members


def _require_size(file: Path, largest: int) -> None:
    """Raise BadRun unless this is a file of at most `largest` bytes."""
    with reading(file):
        if not file.is_file():
            raise BadRun(f"{file} is not a file")
        size = file.stat().st_size
    if size > largest:
        raise BadRun(f"{file} has {size >> 20} MB; a JSON run has at most {largest >> 20}")


def _rename(body: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in body.items()}


def row_from_json(row: object, place: str = "") -> Row:
    """The result in a JSON object. Raises ValueError, which names `place`, for anything else."""
    if not isinstance(row, dict):
        _reject("", "an object", place)
    texts = {name: sys.intern(_text(row, name, place)) for name in TEXTS}
    tensors = {}
    for name, pair in _dict(row, "tensors", place).items():
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], str)):
            _reject("tensors", "an object of pairs", place)
        inside = f"{place}.tensors"
        R = None if pair[0] is None else _number({name: pair[0]}, name, inside)
        tensors[sys.intern(name)] = TensorDigest(R, pair[1])
    return Row(
        **texts,
        R=_number(row, "R", place),
        seconds=_number(row, "seconds", place),
        tensors=tensors,
        environment=_index(row, "environment", place),
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


def _index(body: dict[str, Any], name: str, place: str = "") -> int:
    """The number of an environment; 0 if there is none."""
    value = body.get(name, 0)
    if type(value) is not int or not 0 <= value < MOST_ENVIRONMENTS:
        _reject(name, "the number of an environment", place)
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
