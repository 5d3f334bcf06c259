"""A run recorded: the corpus examined, case by case, and nothing lost when it is killed.

Every case that is done is a line of RUN.journal, with a checksum before it. A run that starts
where a journal lies, of the same plan in the same environment, reads it, drops what a kill has
left half-written, and goes on. Once all is done the journal becomes RUN, and goes.

Nothing is written over but a run of the same plan in the same environment, a damaged one, and
their journals; those of other code too, for this code can neither repeat nor finish them.
"""

import base64
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import harness
import reference
import torch_impl
from torch_impl.paths import path_named

from .case import Case, parse
from .check import Answer, answers
from .corpus import cases_for
from .files import finite
from .judge import LIMIT
from .run_file import (
    JOURNAL,
    LARGEST,
    BadRun,
    LaterRun,
    Row,
    Run,
    Tensor,
    beside,
    bits,
    digest,
    name_of,
    read,
    row_as_json,
    row_from_json,
    unlike,
    write,
)
from .workers import spread

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

BYTES_A_RESULT = 850  # as measured
_LONGEST_HEAD = 2**20  # bytes; what is no journal need not have lines


class Plan(NamedTuple):
    """What is to be recorded."""

    cases: int
    seed: int
    dtypes: list[str]
    paths: list[str]
    values: list[str]  # ids of the cases whose tensors are kept too


class Done(NamedTuple):
    """One case: its rows, and the tensors kept by `name_of`."""

    case: str
    rows: list[Row]
    values: dict[str, np.ndarray]


def record(
    file: Path,
    plan: Plan,
    environment: dict[str, Any],
    workers: int = 1,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> Run:
    """Examine what the plan asks for and write it to `file`; `tell` hears how far it has come.
    Raises OSError, and BadRun for a plan too long for one file, or without any result, and where
    another run, or what is none, would be lost."""
    results = (plan.cases + len(plan.values)) * len(plan.dtypes) * len(plan.paths)
    if results * BYTES_A_RESULT > LARGEST:
        raise BadRun(
            f"{results} results do not fit into one file; "
            f"record at most {LARGEST // BYTES_A_RESULT}, with fewer --cases or --path"
        )
    cases = cases_of(plan)
    journal = file.with_name(f"{file.name}.journal")
    head = {"oracle": oracle(), "environment": environment, "plan": plan._asdict()}
    with _alone(journal):
        _keep_others(file, head)
        found = {done.case: done for done in _resume(journal, head)}
        todo = [case for case in cases if case.id not in found]
        tell(len(found), len(cases))
        work = partial(
            examined, dtypes=plan.dtypes, paths=plan.paths, values=frozenset(plan.values)
        )
        with journal.open("a") as lines:
            for done in spread(work, todo, workers):
                found[done.case] = done
                with _told(journal):
                    lines.write(_line(done))
                    lines.flush()
                tell(len(found), len(cases))
        rows = [row for case in cases for row in found[case.id].rows]
        if not rows:
            journal.unlink()
            raise BadRun(no_case(plan.paths, plan.dtypes))
        values = {name: value for case in cases for name, value in found[case.id].values.items()}
        run = Run(oracle(), LIMIT, environment, plan._asdict(), rows)
        with _told(file):
            write(file, run, values)
        journal.unlink()
    return run


@contextmanager
def _alone(journal: Path) -> Iterator[None]:
    """The journal for this process alone, where the system has locks; one goes with whoever holds
    it, however that ends. Raises BadRun where another has it."""
    if journal.exists() and not journal.is_file():
        raise BadRun(f"{journal}, for the cases that are done, is no file; name another output")
    with _told(journal):
        lines = journal.open("ab")
    with lines:
        if fcntl is None:
            lines.close()  # what is open cannot be removed there
            yield
            return
        held = True
        try:
            fcntl.flock(lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.path.samestat(os.fstat(lines.fileno()), journal.stat())
        except (BlockingIOError, FileNotFoundError):  # the other runs, or has just ended
            held = False
        except OSError:
            pass  # a file system without locks
        if not held:
            raise BadRun(
                f"{journal} is being written by another record; wait for its end, "
                "or name another file"
            )
        try:
            yield
        finally:
            if not os.fstat(lines.fileno()).st_size:  # made here, and of no use
                journal.unlink(missing_ok=True)


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """What the system says of a file is part of a sentence. Raises BadRun."""
    try:
        yield
    except OSError as error:
        raise BadRun(
            f"{file} cannot be written: {error.strerror}; make room, or name an output elsewhere"
        ) from None


def no_case(paths: Sequence[str], dtypes: Sequence[str]) -> str:
    """What is said where there is nothing to examine: more cases do not help where a path has no
    such type."""
    where = f"{', '.join(paths)} in {', '.join(dtypes)}"
    return f"no case of this corpus exists on {where}; ask for more --cases, or another --dtype"


def cases_of(plan: Plan) -> list[Case]:
    """The corpus, and the cases asked for by name."""
    cases = cases_for(plan.cases, plan.seed, plan.paths)
    named = [parse(name) for name in plan.values]
    return list({case.id: case for case in [*cases, *named]}.values())


def examined(
    case: Case, dtypes: Sequence[str], paths: Sequence[str], values: frozenset[str]
) -> Done:
    """A case on every path in every dtype, the paths that do not exist for it left out."""
    chosen = [path_named(name) for name in paths]
    rows: list[Row] = []
    kept: dict[str, np.ndarray] = {}
    for dtype in dtypes:
        for answer in answers(case, dtype, chosen):
            if answer.result.verdict == "excluded":
                continue
            row = _row(answer)
            rows.append(row)
            if case.id in values:
                kept |= {name_of(row, name): value for name, value in answer.tensors.items()}
    return Done(case.id, rows, kept)


def _row(answer: Answer) -> Row:
    result, tensors, masks = answer
    words = {
        name: "".join(c if c.isprintable() else " " for c in getattr(result, name))
        for name in ("case", "path", "dtype", "verdict", "tensor", "place", "road", "note")
    }
    found = {
        name: Tensor(result.tensors.get(name), bits(tensors[name])) for name in sorted(tensors)
    }
    drawn = digest(*(bits(mask).encode() for mask in masks)) if masks else ""
    return Row(**words, R=result.R, seconds=result.seconds, drawn=drawn, tensors=found)


def oracle() -> str:
    """A digest of the code that judges; two runs of different code may differ for that reason."""
    folders = [Path(package.__path__[0]) for package in (reference, torch_impl, harness)]
    files = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    files.append(Path(__file__).with_name("design.json"))
    return digest(*(file.read_bytes() for file in files))


def _keep_others(file: Path, head: dict[str, Any]) -> None:
    """Raises BadRun where a run of another plan or environment, or values that are not those of
    the run beside them, would be written over."""
    old = None
    try:
        old = read(file) if file.is_file() else None
    except LaterRun:
        raise
    except BadRun:
        pass  # to be recorded again, as whoever reads it is told
    others = old and _others({"environment": old.environment, "plan": old.plan}, head)
    if others:
        raise BadRun(f"{file} is a run of {others}; remove it, or name another file")
    values = beside(file)
    if not head["plan"]["values"] or not values.exists():
        return
    if old is None or not values.is_file() or digest(values.read_bytes()) != old.values:
        raise BadRun(f"{values} does not hold values of {file}; remove it, or name another file")


def _others(found: dict[str, Any], head: dict[str, Any]) -> str:
    """What was recorded there and is not to be recorded now; empty where it is the same."""
    parts = []
    for name in ("plan", "environment"):
        if different := unlike(found.get(name, {}), head[name]):
            what = "; ".join(f"{n} {a}, not {b}" for n, a, b in different)
            parts.append(f"another {name} ({what})")
    return " and ".join(parts)


def _line(done: Done) -> str:
    """A line of the journal."""
    values = {
        name: [value.dtype.str, value.shape, base64.b64encode(value.tobytes()).decode()]
        for name, value in done.values.items()
    }
    text = json.dumps(
        {"case": done.case, "rows": [row_as_json(row) for row in done.rows], "values": values}
    )
    return f"{digest(text.encode())} {text}\n"


def _resume(journal: Path, head: dict[str, Any]) -> Iterator[Done]:
    """The cases in a journal that starts with that head; afterwards it ends after the last of
    them, or is a new one. Raises BadRun for what is no journal, or one of another run."""
    said = json.dumps(finite(head)).encode()
    first = f"{digest(said)} ".encode() + said + b"\n"
    end = 0
    if journal.exists():
        with journal.open("rb") as lines:
            start = lines.readline(max(len(first), _LONGEST_HEAD))
            if start != first and not first.startswith(start):  # so far a kill let it come
                _keep_other_journal(journal, start, head)
            if start == first:
                end = len(first)
                for line in lines:
                    checksum, _, text = line.rstrip(b"\n").partition(b" ")
                    if checksum.decode(errors="replace") != digest(text) or line[-1:] != b"\n":
                        break
                    end += len(line)
                    yield _done(json.loads(text))
    with journal.open("r+b" if end else "wb") as lines:
        lines.truncate(end)
        if not end:
            lines.write(first)


def _keep_other_journal(journal: Path, start: bytes, head: dict[str, Any]) -> None:
    """Raises BadRun unless the first line is the damaged head of a journal, or that of other
    code."""
    checksum, _, text = start.rstrip(b"\n").partition(b" ")
    if not JOURNAL.match(start):
        raise BadRun(f"{journal} is no journal of a run; remove it, or name another output")
    if checksum.decode() != digest(text):
        return
    if others := _others(json.loads(text), head):
        raise BadRun(
            f"{journal} is of an unfinished run of {others}; go on with its own command, "
            "or remove the file"
        )


def _done(line: dict[str, Any]) -> Done:
    values = {
        name: np.frombuffer(base64.b64decode(text), dtype).reshape(shape)
        for name, (dtype, shape, text) in line["values"].items()
    }
    return Done(line["case"], [row_from_json(row) for row in line["rows"]], values)
