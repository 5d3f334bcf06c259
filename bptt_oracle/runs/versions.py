"""Record one run for each version of torch, each in a virtual environment of its own.

CACHE/torch-VERSION/     the environment, made by venv, filled by pip, and kept
CACHE/torch-VERSION.new  the environment while it is made; renamed when torch can be imported in it,
                         and made anew if a signal ended the command before
OUTPUT/VERSION.sqlite    the run, recorded there by a copy of this code
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import bptt_oracle
import reference
import torch_impl

from ..processes.failures import CommandError
from ..processes.interrupt import temporary
from .compare import WORDS, Comparison, compare
from .run import Run

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

REQUIREMENTS = (
    "jinja2>=3.1",
    "mpmath>=1.3",
    "numpy>=2",
    "packaging>=22",
    "rich>=13",
    "threadpoolctl>=3",
    "typer>=0.12",
)
DISK_SPACE, DISK_SPACE_CPU = 6, 2  # GB; a wheel with CUDA brings its libraries
FIRST_SUPPORTED = (2, 4)
_VERSION = re.compile(r"(\d+)\.(\d+)(\.\w+)*(\+\w+)?")
_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "replace"}
_PROBE = (
    "import jinja2, mpmath, numpy, packaging, rich, threadpoolctl, torch, typer; "
    "print(torch.__version__)"
)
# What `python -m venv` makes at the top of an environment.
_PARTS = {"bin", "include", "lib", "lib64", "share", "pyvenv.cfg", "scripts", ".gitignore"}


class CannotRun(CommandError, RuntimeError):
    """A version that cannot be installed or recorded."""


def find_problem(versions: Sequence[str]) -> str:
    """Why these versions cannot be compared, as a sentence; empty if they can."""
    for version in versions:
        match = _VERSION.fullmatch(version)
        if match is None:
            return f"{version!a} is not a version of torch; write one like 2.13.0 or 2.13.0+cpu"
        if (int(match[1]), int(match[2])) < FIRST_SUPPORTED:
            first = ".".join(map(str, FIRST_SUPPORTED))
            return f"torch {version} is too old; {first} is the first supported version"
    if len(versions) < 2 or len(set(map(full_version, versions))) < len(versions):
        return "name at least two versions, each once"
    return ""


def full_version(version: str) -> str:
    """The version with three numbers: 2.13 is 2.13.0, as for pip."""
    release, plus, local = version.partition("+")
    return f"{release}.0{plus}{local}" if release.count(".") == 1 else version


def record_versions(
    versions: Sequence[str],
    cache: Path,
    output: Path,
    options: Sequence[str],
    python: str,
    report_progress: Callable[[str], None],
) -> list[Path]:
    """Record a run of every version, one after another, and return their files. `options` are those
    of the command record; `report_progress` is called with a message before each long step. Raises
    CannotRun, its message one sentence, and OSError."""
    for folder in (cache, output):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotRun(
                f"{folder} cannot be a folder: {error.strerror}; name another"
            ) from None
    files = []
    for version in versions:
        interpreter = ensure_environment(version, cache, python, report_progress)
        report_progress(f"recording torch {version}")
        files.append(output / f"{version}.sqlite")
        _record(interpreter, files[-1].resolve(), options)
    return files


def ensure_environment(
    version: str, cache: Path, python: str, report_progress: Callable[[str], None]
) -> Path:
    """The interpreter of an environment with that torch, which is installed if necessary. Raises
    CannotRun."""
    home = cache / f"torch-{version}"
    interpreter = _interpreter(home)
    if _has_torch(interpreter, version):
        return interpreter
    _require_replaceable(home)
    space = DISK_SPACE_CPU if version.endswith("+cpu") else DISK_SPACE
    free = shutil.disk_usage(cache).free / 1e9
    if free < space:
        raise CannotRun(
            f"torch {version} may take {space} GB and {cache} has {free:.1f} left; "
            "make room, or name another --cache"
        )
    report_progress(f"installing torch {version} into {home}")
    aside, replaced = home.with_name(f"{home.name}.new"), home.with_name(f"{home.name}.old")
    with _exclusive(home), temporary(replaced), temporary(aside):
        for left_over in (aside, replaced):  # by a command that was killed
            _require_replaceable(left_over)
            shutil.rmtree(left_over, ignore_errors=True)
        _call([python, "-m", "venv", str(aside)], f"cannot make an environment for torch {version}")
        pip = [str(_interpreter(aside)), "-I", "-m", "pip", "install", "--quiet"]
        pip += ["--disable-pip-version-check", f"torch=={version}", *REQUIREMENTS]
        _call(pip, f"pip could not install torch {version}")
        if not _has_torch(_interpreter(aside), version):
            raise CannotRun(f"torch {version} was installed into {home}, but cannot be imported")
        if home.exists():
            home.rename(replaced)
        aside.rename(home)
    return interpreter


def _interpreter(home: Path) -> Path:
    """The Python of an environment."""
    return home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _require_replaceable(folder: Path) -> None:
    """Raise CannotRun if the folder holds anything that is not part of an environment."""
    try:
        foreign = [file.name for file in folder.iterdir() if file.name.lower() not in _PARTS]
    except FileNotFoundError:
        return
    except NotADirectoryError:
        foreign = [folder.name]
    if foreign:
        raise CannotRun(
            f"{folder} is not an environment: it holds {foreign[0]}; remove it, or name another "
            "--cache"
        )


@contextmanager
def _exclusive(home: Path) -> Iterator[None]:
    """Lock the making of an environment for this process, on systems that have locks. Raises
    CannotRun if another process makes it."""
    if fcntl is None:
        yield
        return
    with home.with_name(f"{home.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotRun(
                f"another command installs into {home}; wait for its end, or name another --cache"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield


def _has_torch(interpreter: Path, version: str) -> bool:
    """Whether an interpreter has that version of torch. A version without a local part, such as
    +cpu, matches any build."""
    installed = _torch_version(interpreter)
    return version in (installed, installed.partition("+")[0])


def _torch_version(interpreter: Path) -> str:
    """The version of torch that an interpreter has; empty if it, torch or one of REQUIREMENTS is
    missing."""
    if not interpreter.exists():
        return ""
    try:
        probe = subprocess.run([interpreter, "-I", "-c", _PROBE], capture_output=True, **_TEXT)
    except OSError:  # not a program
        return ""
    return probe.stdout.strip() if probe.returncode == 0 else ""


def _call(command: list[str], failure: str) -> None:
    """Run a command. If it fails, raise CannotRun with `failure` and its last line of output."""
    try:
        process = subprocess.run(command, capture_output=True, **_TEXT)
    except OSError as error:
        raise CannotRun(f"{failure}: {command[0]} cannot be run: {error.strerror}") from None
    if process.returncode:
        output = (process.stdout + process.stderr).splitlines()
        lines = [line.strip() for line in output if line.strip()]
        raise CannotRun(f"{failure}: {lines[-1] if lines else 'it printed no reason'}")


def _record(interpreter: Path, file: Path, options: Sequence[str]) -> None:
    """Record with a copy of this code, so that the interpreter cannot import other modules from
    the folder where this code is installed."""
    with temporary(Path(tempfile.mkdtemp(prefix="bptt-oracle."))) as code:
        for package in (reference, torch_impl, bptt_oracle):
            folder = Path(package.__path__[0])
            shutil.copytree(
                folder, Path(code, folder.name), ignore=shutil.ignore_patterns("__pycache__")
            )
        command = [str(interpreter), "-m", "bptt_oracle", "record", "-o", str(file), *options]
        environment = os.environ | {"PYTHONPATH": str(code), "PYTHONNOUSERSITE": "1"}
        if subprocess.run(command, env=environment, cwd=code).returncode:
            raise CannotRun(f"nothing was recorded with {interpreter}; its message is above")


def compare_versions(versions: Sequence[str], runs: Sequence[Run]) -> list[tuple[str, Comparison]]:
    """The comparison of each version with the next, with a title such as "2.4.1 → 2.13.0". Raises
    BadRun."""
    return [
        (f"{a} → {b}", compare(old, new, most=1))
        for (a, old), (b, new) in pairwise(zip(versions, runs, strict=True))
    ]


def summarize(steps: Sequence[tuple[str, Comparison]]) -> tuple[list[str], list[list[str]]]:
    """A table, head and rows: for each step from one version to the next, the number of results of
    each word."""
    counters = [comparison.total for _, comparison in steps]
    words = [word for word in WORDS if any(counter[word] for counter in counters)]
    rows = []
    for (name, comparison), counter in zip(steps, counters, strict=True):
        near = comparison.closeness
        closer = f"new {near.new}, old {near.old} of {near.moved}" if near.moved else "none moved"
        rows.append([name, str(counter.total()), *(str(counter[w]) for w in words), closer])
    return ["torch", "results", *(WORDS[w] for w in words), "tensors closer to the truth"], rows
