"""The lines of a preflight: one JSON object for each device; written, read, and put into words.

What is read may come from anywhere: a line of the wrong kind, size or type raises BadLine.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..judging.judge import LIMIT
from ..processes.failures import CommandError
from ..runs.files import printable
from .finding import RUNS_DIFFER
from .sketch import Sketch, decode, digest_of, steps_of

FORMAT = "bptt-oracle preflight 1"
HEALTHY, UNWELL, FAILED = "healthy", "wrong", "could not run"
LONGEST = 4_000_000  # bytes of a line; one with two dtypes has 200,000
_DIGEST = re.compile("[0-9a-f]{16}")
_PART = re.compile(r"[a-z0-9_]{1,40}/[a-z0-9]{1,20}")  # case/dtype


class BadLine(CommandError, ValueError):
    """A line that is not one of a preflight."""


class Line(NamedTuple):
    """What a cohort reads of a line; `raw` is the whole object."""

    worker: tuple[str, str, str, str]  # host, device, UUID, cores
    time: str
    verdict: str
    cohort: tuple[tuple[str, str], ...]  # sorted
    digests: dict[str, str]
    raw: dict[str, Any]


def to_text(line: Mapping[str, Any], brief: bool = False) -> str:
    """A line of JSON; without the sketches if `brief`."""
    kept = {name: value for name, value in line.items() if not brief or name != "sketches"}
    return json.dumps(kept, ensure_ascii=True, allow_nan=False) + "\n"


def append(file: Path, line: Mapping[str, Any]) -> None:
    """Append a line, in one write. Raises OSError."""
    content = to_text(line).encode()
    if _is_cut_off(file):  # by a full disk or a signal; only that line is lost
        content = b"\n" + content
    with file.open("ab", buffering=0) as target:
        if target.write(content) != len(content):
            raise OSError(None, "the line could not be written whole", str(file))


def _is_cut_off(file: Path) -> bool:
    """Whether a file ends within a line. Raises OSError."""
    if not file.is_file() or not file.stat().st_size:
        return False
    with file.open("rb") as content:
        content.seek(-1, os.SEEK_END)
        return content.read() != b"\n"


def holds_lines(file: Path) -> bool:
    """Whether a file begins with a line of a preflight. Raises OSError."""
    with file.open("rb") as source:
        first = source.readline(LONGEST)
    try:
        parse(first)
    except BadLine:
        return False
    return True


def read_lines(source: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """The number, the position and the content of each line that is not blank; of a longer line
    than LONGEST, only so much that `parse` rejects it. Raises OSError."""
    number = 0
    while True:
        position = source.tell()
        content = source.readline(LONGEST + 1)
        number += 1
        if not content:
            return
        rest = content
        while len(rest) > LONGEST and not rest.endswith(b"\n"):
            rest = source.readline(LONGEST + 1)
        if content.strip():
            yield number, position, content


def parse(content: bytes) -> Line:
    """A line of a file. Raises BadLine, whose message says what is wrong with it."""
    if len(content) > LONGEST:
        raise BadLine(f"it is longer than {LONGEST} bytes")
    try:
        raw = json.loads(content)
    except (ValueError, RecursionError):
        raise BadLine("it is not JSON") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise BadLine(f"its format is not {FORMAT!r}")
    worker = tuple(_text(raw, name) for name in ("host", "device", "uuid", "cores"))
    verdict, time = _text(raw, "verdict"), _text(raw, "time")
    if verdict not in (HEALTHY, UNWELL, FAILED):
        raise BadLine("its verdict is not one of a preflight")
    if not worker[0] and not worker[2]:
        raise BadLine("it names neither a host nor a device's UUID")
    findings = raw.get("findings")
    if not isinstance(findings, list) or not all(isinstance(f, dict) for f in findings):
        raise BadLine("its findings are not a list of objects")
    if bool(findings) != (verdict == UNWELL) and verdict != FAILED:
        raise BadLine("its verdict contradicts its findings")
    if verdict != FAILED:
        _require_R(raw.get("R"), verdict)
    cohort, digests = _texts(raw, "cohort"), _texts(raw, "digests")
    for key, digest in digests.items():
        if not _PART.fullmatch(key) or not _DIGEST.fullmatch(digest):
            raise BadLine("its digests are not names with 16 hexadecimal digits")
    if verdict != FAILED and not (digests and cohort):
        raise BadLine("it has a verdict and no digests")
    return Line(worker, time, verdict, tuple(sorted(cohort.items())), digests, raw)  # type: ignore[arg-type]


def _require_R(R: Any, verdict: str) -> None:
    """Raise BadLine unless R is a number that a healthy device may have; infinity is a text."""
    if R != "inf" and (type(R) not in (int, float) or not 0 <= R < math.inf):
        raise BadLine("it has no R")
    if verdict == HEALTHY and (R == "inf" or R > LIMIT):
        raise BadLine("its verdict contradicts its R")


def _text(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name, "")
    if not isinstance(value, str) or len(value) > 1000:
        raise BadLine(f"its {name} is not a short text")
    return printable(value)


def _texts(raw: Mapping[str, Any], name: str) -> dict[str, str]:
    """An entry whose value is an object of texts; empty if it is missing."""
    value = raw.get(name, {})
    if not isinstance(value, dict) or len(value) > 1000:
        raise BadLine(f"its {name} is not an object of texts")
    return {printable(key): _text(value, key) for key in value}


def sketches_of(line: Line, part: str) -> dict[str, Sketch]:
    """The sketches of a case in a dtype by the names of results; none if the line was written
    without. Raises BadLine if they are damaged or belong to other digests."""
    found: dict[str, Sketch] = {}
    try:
        for key, entry in line.raw.get("sketches", {}).items():
            if not key.startswith(part + "/"):
                continue
            name, shape, dtype = key[len(part) + 1 :], tuple(entry["shape"]), entry["dtype"]
            sums = decode(entry["sums"])
            if not name.isidentifier() or not all(type(n) is int and 0 < n < 2**31 for n in shape):
                raise ValueError("name or shape")
            if dtype not in ("float32", "float64") or not _DIGEST.fullmatch(entry["digest"]):
                raise ValueError("dtype or digest")
            if not shape or len(sums) != steps_of(name, shape) or math.prod(shape) > 2**40:
                raise ValueError("steps")
            found[name] = Sketch(entry["digest"], shape, dtype, sums)
        if found and digest_of(found) != line.digests[part]:
            raise ValueError("digests")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise BadLine(f"its sketches of {part} are damaged") from None
    return found


def status_of(lines: Iterable[Mapping[str, Any]]) -> int:
    """The exit status of a preflight: 1 if a device is wrong, else 2 if one could not run."""
    words = {str(line["verdict"]) for line in lines}
    return 1 if UNWELL in words else 2 if words - {HEALTHY} or not words else 0


def sentence_of(line: Mapping[str, Any]) -> str:
    """One sentence about a line, for people; nothing in it is trusted."""
    device = f"{line['device']} of {line['host']}"
    if line["verdict"] == HEALTHY:
        sentence = f"{device} is healthy: R is at most {line['R']} ({line['tensor']})"
    elif line["verdict"] == FAILED:
        sentence = f"{device} could not be examined: {line.get('reason', 'unknown reason')}"
    else:
        sentence = f"{device} is wrong: {describe_finding(line['findings'][0])}"
    return printable(sentence)


def describe_finding(found: Mapping[str, Any]) -> str:
    """A finding in words."""
    part = {name: str(value)[:200] for name, value in found.items()}
    kind = part.get("kind", "")
    if kind == RUNS_DIFFER:
        kind = f"{kind} ({part.get('runs')} had these bits)"
    place = "/".join(part.get(name, "?") for name in ("case", "dtype", "tensor"))
    bits = ", ".join(f"{name} {part.get(name)}" for name in ("expected", "xor"))
    seen = f"{part.get('repeated')}, R = {part.get('R')}"
    return f"{kind}: {place}{part.get('element')} is {part.get('actual')}, {bits}; {seen}"
