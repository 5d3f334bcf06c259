"""Record one run for each release of a package, each in a virtual environment of its own.

CACHE/torch-VERSION/      the environment, made by venv, filled by pip, and kept
CACHE/torch-VERSION.new   the environment while it is made; renamed when it has every package, and
                          made anew if a signal ended the command before
OUTPUT/VERSION.sqlite       the run, recorded there by a copy of this code

Of another package the names are CACHE/NAME-VERSION and OUTPUT/NAME-VERSION.sqlite.
"""

import os
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
from .releases import Release
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
DISK_SPACE, DISK_SPACE_CPU = 6, 2  # GB; torch's wheel with CUDA brings its libraries
_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "replace"}
# Fails if a requirement among its arguments is not met. `==2.13.0` matches 2.13.0+cpu as well.
_PROBE = """
import sys
from importlib.metadata import version
import jinja2, mpmath, numpy, packaging.requirements, rich, threadpoolctl, typer
for requirement in map(packaging.requirements.Requirement, sys.argv[1:]):
    if not requirement.specifier.contains(version(requirement.name), prereleases=True):
        sys.exit(1)
"""
# What `python -m venv` makes at the top of an environment.
_PARTS = {"bin", "include", "lib", "lib64", "share", "pyvenv.cfg", "scripts", ".gitignore"}


class CannotRun(CommandError, RuntimeError):
    """A version that cannot be installed or recorded."""


def record_versions(
    releases: Sequence[Release],
    requirements: Sequence[str],
    implementations: Sequence[str],
    cache: Path,
    output: Path,
    options: Sequence[str],
    python: str,
    report_progress: Callable[[str], None],
    model: str = "",
) -> list[Path]:
    """Record a run of every release, one after another, and return their files. `requirements` are
    installed with each; `implementations` are recorded in place of torch's paths, or one step of
    the `model` that a function of the user returns, in every release with the weights and the batch
    of the first; `options` are the others of the command record; `report_progress` is called with a
    message before each long step. Raises CannotRun, its message one sentence, and OSError."""
    for folder in (cache, output):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotRun(
                f"{folder} cannot be a folder: {error.strerror}; name another"
            ) from None
    files: list[Path] = []
    for release in releases:
        interpreter = ensure_environment(release, requirements, cache, python, report_progress)
        report_progress(f"recording {release.title}")
        file = (output / f"{release.run}.sqlite").resolve()
        users_code = [f"--implementation={name}" for name in implementations]
        if model:
            users_code = [f"--model={model}"]
            users_code += [f"--inputs={first.resolve()}" for first in files[:1]]
        _record(interpreter, file, users_code, options)
        files.append(output / f"{release.run}.sqlite")
    return files


def ensure_environment(
    release: Release,
    requirements: Sequence[str],
    cache: Path,
    python: str,
    report_progress: Callable[[str], None],
) -> Path:
    """The interpreter of an environment with that release and what is required with it, which are
    installed if necessary. Raises CannotRun."""
    title, home = release.title, cache / release.folder
    interpreter = _interpreter(home)
    if _has(interpreter, release, requirements):
        return interpreter
    _require_replaceable(home)
    with_cuda = release.package == "torch" and not release.version.endswith("+cpu")
    space = DISK_SPACE if with_cuda else DISK_SPACE_CPU
    free = shutil.disk_usage(cache).free / 1e9
    if free < space:
        raise CannotRun(
            f"{title} may take {space} GB and {cache} has {free:.1f} left; "
            "make room, or name another --cache"
        )
    report_progress(f"installing {title} into {home}")
    aside, replaced = home.with_name(f"{home.name}.new"), home.with_name(f"{home.name}.old")
    with _exclusive(home), temporary(replaced), temporary(aside):
        for left_over in (aside, replaced):  # by a command that was killed
            _require_replaceable(left_over)
            shutil.rmtree(left_over, ignore_errors=True)
        _call([python, "-m", "venv", str(aside)], f"cannot make an environment for {title}")
        pip = [str(_interpreter(aside)), "-I", "-m", "pip", "install", "--quiet"]
        pip += ["--disable-pip-version-check", release.requirement, *REQUIREMENTS]
        _call([*pip, *requirements], f"pip could not install {title}")
        if not _has(_interpreter(aside), release, requirements):
            raise CannotRun(
                f"pip installed {title} into {home}, but Python cannot find or import it there"
            )
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


def _has(interpreter: Path, release: Release, requirements: Sequence[str]) -> bool:
    """Whether an interpreter has that release, what is required with it, and REQUIREMENTS. A
    version without a local part, such as +cpu, matches any build."""
    if not interpreter.exists():
        return False
    program = _PROBE + "import torch\n" * (release.package == "torch")
    command = [str(interpreter), "-I", "-c", program, release.requirement, *requirements]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:  # not a program
        return False


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


def _record(
    interpreter: Path, file: Path, users_code: Sequence[str], options: Sequence[str]
) -> None:
    """Record with a copy of this code, so that the interpreter cannot import other modules from
    the folder where this code is installed. The user's code, which the options `users_code` name,
    is looked for in the current directory, behind this code."""
    with temporary(Path(tempfile.mkdtemp(prefix="bptt-oracle."))) as code:
        for package in (reference, torch_impl, bptt_oracle):
            folder = Path(package.__path__[0])
            shutil.copytree(
                folder, Path(code, folder.name), ignore=shutil.ignore_patterns("__pycache__")
            )
        # absolute, because it starts in another folder
        command = [str(interpreter.absolute()), "-m", "bptt_oracle", "record"]
        command += ["-o", str(file), *options, *users_code]
        folders = [str(code), os.getcwd()] if users_code else [str(code)]
        # PYTHONSAFEPATH: otherwise the current directory is before the others.
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(folders),
            "PYTHONNOUSERSITE": "1",
            "PYTHONSAFEPATH": "1",
        }
        if subprocess.run(command, env=environment, cwd=folders[-1]).returncode:
            raise CannotRun(f"nothing was recorded with {interpreter}; its message is above")


def compare_versions(
    releases: Sequence[Release], runs: Sequence[Run]
) -> list[tuple[str, Comparison]]:
    """The comparison of each release with the next, with a title such as "2.4.1 → 2.13.0". Raises
    BadRun."""
    return [
        (f"{a.version} → {b.version}", compare(old, new, most=1))
        for (a, old), (b, new) in pairwise(zip(releases, runs, strict=True))
    ]


def summarize(
    package: str, steps: Sequence[tuple[str, Comparison]]
) -> tuple[list[str], list[list[str]]]:
    """A table, head and rows: for each step from one version of the package to the next, the
    number of results of each word."""
    counters = [comparison.total for _, comparison in steps]
    words = [word for word in WORDS if any(counter[word] for counter in counters)]
    rows = []
    for (name, comparison), counter in zip(steps, counters, strict=True):
        near = comparison.closeness
        closer = f"new {near.new}, old {near.old} of {near.moved}" if near.moved else "none moved"
        rows.append([name, str(counter.total()), *(str(counter[w]) for w in words), closer])
    return [package, "results", *(WORDS[w] for w in words), "tensors closer to the truth"], rows
