"""Files written whole or not at all."""

import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Write JSON to a temporary file beside `path`, then rename it. Raises OSError."""
    write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """JSON, with infinities and NaN as strings."""
    return json.dumps(finite(value), indent=1) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write text to a temporary file beside `path`, then rename it. Raises OSError."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes to a temporary file beside `path`, then rename it; what is no file, as
    /dev/stdout, is written to as it is. Raises OSError."""
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    path = Path(os.path.realpath(path))  # a link stays one
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".bptt-oracle.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def finite(value: Any) -> Any:
    """The value with infinities and NaN spelled as strings, which JSON has no numbers for."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
