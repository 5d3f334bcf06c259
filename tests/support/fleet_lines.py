"""Lines of a preflight: that of a device which computed the case `steps`, and files of lines."""

import json
from functools import cache

from bptt_oracle.fleet.lines import to_text
from bptt_oracle.fleet.preflight import Settings, examine_device

STEPS = Settings(dtypes=("float32",), cases=("steps",))


@cache
def _healthy_text():
    return to_text(examine_device("cpu", STEPS))


def healthy_line(**entries):
    """A line of this machine's CPU, with other entries."""
    return json.loads(_healthy_text()) | entries


def write_lines(file, lines):
    """A file of these lines; those that are bytes are written as they are."""
    content = [line if isinstance(line, bytes) else to_text(line).encode() for line in lines]
    file.write_bytes(b"".join(content))
    return file
