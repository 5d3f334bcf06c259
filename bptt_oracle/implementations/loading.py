"""An implementation by its name: "module:object", "file.py:object", or a path of torch."""

import importlib
import importlib.util
import os
import sys
import traceback
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from reference.cells.table import CELL_TABLE
from torch_impl.execution.precision import DTYPES

from ..judging.deviation_entries import Deviation, require_possible
from ..processes.failures import CommandError, first_line
from .engines import ENGINES
from .fitting import with_abilities_of_module
from .implementation import Implementation

CELLS_BY_WORD = {"LSTM": ("LSTM",), "GRU": ("GRU",), "RNN": ("RNN_TANH", "RNN_RELU")}
_PACKAGES = Path(__file__).parents[2]


def is_torch_path(name: str) -> bool:
    """Whether a name is that of one of torch's paths, and not of an implementation to load."""
    return ":" not in name


def implementation_named(name: str) -> Implementation:
    """The implementation of that name. Raises KeyError for a path that torch does not have, and
    CommandError, with one sentence, for what cannot be loaded."""
    if is_torch_path(name):
        from .torch_paths import torch_path

        return torch_path(name)
    return load(name)


@cache
def load(name: str) -> Implementation:
    """The implementation `object` of "module:object" or "file.py:object", called by that name. A
    module is looked for in the current directory too. Raises CommandError, with one sentence."""
    found = object_named(name, "an implementation")
    return as_implementation(found, name)._replace(name=name)


def object_named(name: str, expected: str) -> Any:
    """The object of "module:object" or "file.py:object". A module is looked for in the current
    directory too. Raises CommandError, with one sentence, which says that `expected` should come.
    """
    source, _, attribute = name.rpartition(":")
    if not source or not attribute:
        raise CommandError(
            f"{name!r} does not name {expected}; expected module:object or file.py:object"
        )
    try:
        found: Any = _module(source)
        for part in attribute.split("."):
            found = getattr(found, part)
    except CommandError:
        raise
    except AttributeError as error:
        if not hasattr(error, "name") or error.name not in attribute.split("."):
            raise CommandError(f"{name} cannot be loaded: {describe(error)}") from None
        raise CommandError(f"{source} has no {attribute!r}; name {expected} in it") from None
    except SystemExit as error:
        raise CommandError(
            f"{name} cannot be loaded, because it ends the program: {describe(error)}; let it do "
            'so only if __name__ == "__main__"'
        ) from None
    except Exception as error:
        raise CommandError(f"{name} cannot be loaded: {describe(error)}") from None
    return found


def _module(source: str) -> ModuleType:
    """The module of a dotted name or of a file."""
    if not source.endswith(".py"):
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        return importlib.import_module(source)
    path = Path(source).resolve()
    if not path.is_file():
        raise CommandError(f"there is no file {source}")
    return _module_of_file(path)


def _module_of_file(path: Path) -> ModuleType:
    """The module that this file is, although another of its name may be loaded. What stands beside
    the file can be imported by it. Raises CommandError if it would import another file's."""
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    name = _module_name(path)
    if name in sys.modules:
        return sys.modules[name]
    for beside in (*path.parent.glob("*.py"), *path.parent.glob("*/__init__.py")):
        _require_not_hidden(path, beside)
    spec: Any = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _module_name(path: Path) -> str:
    """The name by which processes that the user's code starts import the file; one of its own if
    another module has that, or if the name has a dot, as a part of a package has."""
    name = path.stem
    if "." not in name and (name not in sys.modules or _file_of(name) == path):
        return name
    return f"{name.replace('.', '_')}_{sha256(os.fsencode(path)).hexdigest()[:8]}"


def _require_not_hidden(path: Path, beside: Path) -> None:
    """Raise CommandError if `import` in the file at `path` would not find the user's module that
    stands beside it, because one of that name was loaded for another file."""
    name = beside.parent.name if beside.name == "__init__.py" else beside.stem
    loaded = _file_of(name)
    if beside != path and loaded not in (None, beside) and _is_users(str(loaded)):
        raise CommandError(
            f"{path} would import {loaded} in place of {beside}; name the two implementations in "
            "two commands"
        )


def _file_of(name: str) -> Path | None:
    """The file of the loaded module of that name; None if there is none."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return None if file is None else Path(file).resolve()


def as_implementation(value: Any, name: str) -> Implementation:
    """An Implementation, or a subclass of torch.nn.Module as one. Raises CommandError for anything
    else, and for fields that contradict each other."""
    if isinstance(value, type) and not issubclass(value, Implementation):
        value = _of_class(value, name)
    if not isinstance(value, Implementation):
        raise CommandError(
            f"{name} is a {type(value).__name__}; expected a bptt_oracle.Implementation or a "
            "subclass of torch.nn.Module"
        )
    ways = [way for way in ("layer", "net", "run", "module") if getattr(value, way) is not None]
    if len(ways) != 1:
        given = " and ".join(ways) or "no function"
        raise CommandError(f"{name} gives {given}; give one of layer, net, run, module")
    if value.engine not in ENGINES:
        raise CommandError(f"{name}: there is no engine {value.engine!r}; {', '.join(ENGINES)}")
    for words, known in ((value.cells, CELL_TABLE), (value.dtypes, DTYPES)):
        if unknown := [word for word in words if word not in known]:
            raise CommandError(f"{name}: {unknown[0]!r} came, expected one of {', '.join(known)}")
    _require_deviations(value, name)
    if ways == ["module"]:
        return with_abilities_of_module(value)._replace(engine="torch")
    return value


def _require_deviations(implementation: Implementation, name: str) -> None:
    """Raise CommandError unless the deviations are a file, or a tuple of some that can occur."""
    listed: Any = implementation.deviations
    if isinstance(listed, Path):
        return
    if not isinstance(listed, (tuple, list)) or not all(isinstance(d, Deviation) for d in listed):
        raise CommandError(
            f"{name} has deviations {listed!r}; expected a Path, or a tuple of Deviation"
        )
    for deviation in listed:
        require_possible(deviation)


def _of_class(value: type, name: str) -> Implementation:
    """The implementation that a class of modules is; its cell is taken from its name or base."""
    if cells := cells_of_class(value):
        return Implementation(name, module=value, cells=cells)
    if any(base.__name__ == "Optimizer" for base in value.__mro__):
        raise CommandError(f"{name} is an optimiser; judge it with bptt_oracle.judge_optimizer")
    raise CommandError(
        f"the cell of {name} is unknown; write Implementation({value.__name__!r}, "
        f"module={value.__name__}, cells=('LSTM',)) and name that"
    )


def cells_of_class(value: type) -> tuple[str, ...]:
    """The cells that the name of a class, or of one of its bases, says; empty if none does."""
    for word in (base.__name__.upper() for base in value.__mro__):
        for key, cells in CELLS_BY_WORD.items():
            if key in word and word != "RNNBASE":
                return cells
    return ()


def describe(error: BaseException) -> str:
    """The first line of an exception, and the last line of the user's code that it passed."""
    return f"{first_line(error)}{_place_of(error)}"


def _place_of(error: BaseException) -> str:
    """The last line of the user's code that an exception passed, in parentheses; empty if none. The
    message of a SyntaxError has its place."""
    if isinstance(error, SyntaxError):
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_users(frame.filename)]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def _is_users(filename: str) -> bool:
    """Whether a file is neither of this project nor of a library."""
    path = Path(filename)
    if "site-packages" in path.parts or "dist-packages" in path.parts or "<" in filename:
        return False
    if str(path).startswith(os.path.dirname(os.__file__)):
        return False
    names = ("bptt_oracle", "reference", "torch_impl")
    return not any(path.is_relative_to(_PACKAGES / package) for package in names)
