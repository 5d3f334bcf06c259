"""The files that Python finds for the packages shipped with bptt_oracle, and the version.

`reference` and `torch_impl` are common names. A file reference.py in the folder in which Python
starts is found before ours, and its first missing attribute would be a puzzling error.
"""

import sys
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("reference", "torch_impl")


def hidden_package() -> str:
    """One sentence with both paths if another module hides one of PACKAGES, else an empty string.
    Nothing is imported."""
    for name in PACKAGES:
        expected = ROOT / name / "__init__.py"
        found = _file_of(name)
        if found is None or found.resolve() != expected:
            return (
                f"bptt_oracle needs its own package {name}, {expected}, but Python finds "
                f"{found or 'no such module'}; rename that file, or start Python in another folder"
            )
    return ""


def _file_of(name: str) -> Path | None:
    """The file that `import name` runs or has run; None if there is none."""
    if name in sys.modules:
        file = getattr(sys.modules[name], "__file__", None)
    else:
        spec = find_spec(name)
        file = spec.origin if spec else None
    return Path(file) if file else None


def runs_the_command_line() -> bool:
    """Whether this process runs `bptt-oracle` or `python -m bptt_oracle`. While Python locates the
    module of -m, sys.argv[0] is "-m"."""
    program = sys.argv[0] if getattr(sys, "argv", None) else ""
    return Path(program).stem == "bptt-oracle" or (
        program == "-m" and "bptt_oracle" in sys.orig_argv
    )


def version() -> str:
    """The installed version; in a checkout that is not installed, that of its pyproject.toml;
    "unknown" in a copy of the packages only."""
    with suppress(PackageNotFoundError):
        return installed_version("bptt-oracle")
    try:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return str(project["version"])
    except OSError:
        return "unknown"
