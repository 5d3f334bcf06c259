"""The result of a case on an implementation in a dtype, as `check` and reports know it."""

from typing import NamedTuple

from ..cases.case import Case
from ..processes.failures import Crash

INVALID_CALLS_PATH = "cpu-invalid-calls"
CRASH = "crash"
OUT_OF_RESOURCES = "out of resources"
UNFINISHED = (CRASH, OUT_OF_RESOURCES)  # verdicts without a result: no agreement, and no fault


class Result(NamedTuple):
    """The judgement of one case on one path in one dtype."""

    case: str
    path: str
    dtype: str
    cell: str
    verdict: str  # agree, fault, known deviation, untrusted, or one of UNFINISHED; excluded: the
    # path does not exist for the case
    R: float
    tensor: str  # the one with the largest R
    place: str  # of its worst element
    kernel: str
    seconds: float
    note: str  # why the path is excluded or nothing can be judged; torch's message if it raised
    tensors: dict[str, float]  # R of every tensor that is not ill-conditioned
    offsets: dict[str, float] = {}  # the offset of each of them
    not_returned: tuple[str, ...] = ()  # tensors that the implementation does not return


def blank_result(case: Case, name: str, dtype: str, note: str = "") -> Result:
    """The result of an implementation that cannot compute a case, for the reason in `note`."""
    return Result(case.id, name, dtype, case.cell, "excluded", 0, "", "", "", 0, note, {})


def crashed(blank: Result, crash: Crash) -> Result:
    """The result of a path whose process ended."""
    return blank._replace(verdict=CRASH, R=float("inf"), note=str(crash))
