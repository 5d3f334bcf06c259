"""One run for each version of torch, each version in an environment of its own.

CACHE/torch-VERSION/     an environment made by venv and filled by pip, and kept
OUTPUT/VERSION.json      the run, recorded there by this very code
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import bptt_oracle
import reference
import torch_impl

from .compare import WORDS, Change, closer, compare
from .run_file import Run, read

NEEDED = ("numpy>=2", "jinja2>=3.1", "rich>=13", "typer>=0.12")
ROOM, ROOM_CPU = 6, 2  # GB; a wheel with CUDA brings its libraries
FIRST = (2, 4)
_VERSION = re.compile(r"(\d+)\.(\d+)(\.\w+)*(\+\w+)?")
_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "replace"}
_PROBE = "import jinja2, numpy, rich, torch, typer; print(torch.__version__)"


class CannotRun(RuntimeError):
    """A version that cannot be installed, or not recorded."""


def unfit(versions: Sequence[str]) -> str:
    """Why these versions cannot be compared; empty where they can."""
    for version in versions:
        found = _VERSION.fullmatch(version)
        if found is None:
            return f"{version!r} is no version of torch; one reads like 2.13.0 or 2.13.0+cpu"
        if (int(found[1]), int(found[2])) < FIRST:
            return f"torch {version} is too old; {'.'.join(map(str, FIRST))} is the first to run"
    if len(versions) < 2 or len(set(versions)) < len(versions):
        return "name at least two versions, each once"
    return ""


def matrix(
    versions: Sequence[str],
    cache: Path,
    output: Path,
    options: Sequence[str],
    python: str,
    tell: Callable[[str], None],
) -> list[Run]:
    """A run of every version, one after another; `options` go to record, `tell` hears what is
    being done. Raises CannotRun and BadRun, their messages one sentence, and OSError."""
    for folder in (cache, output):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotRun(
                f"{folder} cannot be a folder: {error.strerror}; name another"
            ) from None
    runs = []
    for version in versions:
        interpreter = environment_of(version, cache, python, tell)
        tell(f"recording torch {version}")
        file = output / f"{version}.json"
        _record(interpreter, file.resolve(), options)
        runs.append(read(file))
    return runs


def environment_of(version: str, cache: Path, python: str, tell: Callable[[str], None]) -> Path:
    """The interpreter of an environment that holds that torch, installed now if need be."""
    home = cache / f"torch-{version}"
    interpreter = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if _same(interpreter, version):
        return interpreter
    room = ROOM_CPU if version.endswith("+cpu") else ROOM
    free = shutil.disk_usage(cache).free / 1e9
    if free < room:
        raise CannotRun(
            f"torch {version} may take {room} GB and {cache} has {free:.1f} left; "
            "make room, or name another --cache"
        )
    tell(f"installing torch {version} into {home}")
    if not interpreter.exists():
        _call([python, "-m", "venv", str(home)], f"no environment for torch {version}")
    pip = [str(interpreter), "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _call([*pip, f"torch=={version}", *NEEDED], f"pip could not install torch {version}")
    if not _same(interpreter, version):
        raise CannotRun(f"torch {version} was installed into {home}, but cannot be imported there")
    return interpreter


def _same(interpreter: Path, version: str) -> bool:
    """Whether the torch there is that version, with whatever it was built for."""
    found = _torch_in(interpreter)
    return version in (found, found.partition("+")[0])


def _torch_in(interpreter: Path) -> str:
    """The version of torch that an interpreter has, with all else that is needed; else empty."""
    if not interpreter.exists():
        return ""
    found = subprocess.run([interpreter, "-I", "-c", _PROBE], capture_output=True, **_TEXT)
    return found.stdout.strip() if found.returncode == 0 else ""


def _call(command: list[str], failure: str) -> None:
    """Run it. Raises CannotRun with the last line that it said."""
    try:
        done = subprocess.run(command, capture_output=True, **_TEXT)
    except OSError as error:
        raise CannotRun(f"{failure}: {command[0]} cannot be run: {error.strerror}") from None
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise CannotRun(f"{failure}: {said[-1].strip() if said else 'it did not say why'}")


def _record(interpreter: Path, file: Path, options: Sequence[str]) -> None:
    """Record with this code, a copy of it: what lies beside it here stays out of the way."""
    with tempfile.TemporaryDirectory() as code:
        for package in (reference, torch_impl, bptt_oracle):
            folder = Path(package.__path__[0])
            shutil.copytree(
                folder, Path(code, folder.name), ignore=shutil.ignore_patterns("__pycache__")
            )
        command = [str(interpreter), "-m", "bptt_oracle", "record", "-o", str(file), *options]
        environment = os.environ | {"PYTHONPATH": code, "PYTHONNOUSERSITE": "1"}
        if subprocess.run(command, env=environment, cwd=code).returncode:
            raise CannotRun(f"nothing was recorded with {interpreter}; what it said is above")


def changes_of(versions: Sequence[str], runs: Sequence[Run]) -> list[tuple[str, list[Change]]]:
    """What changed from each version to the next."""
    return [
        (f"{a} → {b}", compare(old, new))
        for (a, old), (b, new) in pairwise(zip(versions, runs, strict=True))
    ]


def table(
    steps: Sequence[tuple[str, list[Change]]], runs: Sequence[Run]
) -> tuple[list[str], list[list[str]]]:
    """Head and rows: a step from one version to the next, and how many results of each word."""
    found = [Counter(c.word for c in changes) for _, changes in steps]
    words = [word for word in WORDS if any(seen[word] for seen in found)]
    rows = []
    for (name, _), seen, (old, new) in zip(steps, found, pairwise(runs), strict=True):
        near = closer(old, new)
        nearer = f"new {near.new}, old {near.old} of {near.moved}" if near.moved else "none moved"
        rows.append([name, str(seen.total()), *(str(seen[w]) for w in words), nearer])
    return ["torch", "results", *(WORDS[w] for w in words), "tensors closer to the truth"], rows
