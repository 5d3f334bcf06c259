"""A preflight of one device: fixed cases, each computed three times, judged and compared bitwise.

    healthy          every result agrees with the truth, all runs are equal in every bit, and the
                     device still holds the inputs that it was given
    wrong            otherwise
    could not run    the device, or torch on it, raised an error: nothing was judged

The line of a device also holds what a cohort compares: a digest of each result and, on demand, the
sketches that locate one changed element. Page: docs/fleet/fleet.md
"""

import os
import platform
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from ..processes.failures import CommandError, first_line
from ..processes.workers import limit_threads
from ..runs.files import printable, replace_nonfinite
from ..runs.row import rounded
from .finding import Finding, between_runs, changed_input, judge_copies
from .fixed_cases import CASES, SEED, FixedCase, draw_problem, inputs_of
from .lines import FAILED, FORMAT, HEALTHY, UNWELL
from .sketch import Sketch, digest_of, encode, sketch
from .truth_file import Truth, read

REPEATS = 3  # so that the odd one out is known
Touches = Sequence[Any]  # of `computing.compute`, for each of the runs


class Settings(NamedTuple):
    """What is computed on a device."""

    dtypes: tuple[str, ...] = ("float32", "float64")
    cases: tuple[str, ...] = tuple(CASES)


ALL = Settings()


class Examined(NamedTuple):
    """One case in one dtype on one device."""

    R: float
    tensor: str  # with the largest R
    findings: list[dict[str, Any]]  # one for each distinct computation that is wrong
    sketches: dict[str, Sketch]  # of what most runs computed
    kernel: str


class _Version(NamedTuple):
    """A distinct outcome of the runs, which of them had it, and its bits."""

    values: dict[str, np.ndarray]
    sketches: dict[str, Sketch]
    kernel: str
    runs: list[int]


def examine(
    case: FixedCase,
    dtype: str,
    device: str,
    truth: Truth,
    copies: int = 1,
    touches: Touches = (None,) * REPEATS,
) -> Examined:
    """Compute a case once for each of `touches`, and judge what came out. A touch that is not None
    plants a fault in that run; see `computing.compute`."""
    from .computing import compute

    problem = draw_problem(case, copies)
    versions: list[_Version] = []
    for run, touch in enumerate(touches):
        values, kernel = compute(problem, dtype, device, case.in_steps, touch)
        sketches = {name: sketch(name, value) for name, value in values.items()}
        for version in versions:
            if _digests(version.sketches) == _digests(sketches):
                version.runs.append(run)
                break
        else:
            versions.append(_Version(values, sketches, kernel, [run]))
    versions.sort(key=lambda version: -len(version.runs))  # stable: the earliest of equal ones
    usual, expected = versions[0], truth.expected(case, dtype)
    scores, findings = [], []
    for version in versions:
        worst, wrong = judge_copies(case, copies, version.values, expected, dtype)
        scores.append(worst)
        found = changed_input(inputs_of(problem), version.values, dtype)
        if found is None and version is not usual:
            found = between_runs(usual[:2], version[:2], dtype)
        if found := found or wrong:
            findings.append(_describe(found, case, dtype, worst.R, version.runs, len(touches)))
    largest = max(scores, key=lambda score: score.R)
    return Examined(rounded(largest.R), largest.tensor, findings, usual.sketches, usual.kernel)


def _digests(sketches: Mapping[str, Sketch]) -> dict[str, str]:
    return {name: one.digest for name, one in sketches.items()}


def _describe(
    found: Finding, case: FixedCase, dtype: str, R: float, runs: list[int], of: int
) -> dict[str, Any]:
    """A finding as it stands in a line. `once` says that no other run had the same bits."""
    place = {"case": case.name, "dtype": dtype}
    repeated = "once" if len(runs) == 1 < of else "repeated"
    return (
        place
        | found._replace(R=rounded(R)).as_dict()
        | {
            "runs": f"{len(runs)} of {of}",
            "repeated": repeated,
        }
    )


def examine_device(device: str, settings: Settings = ALL) -> dict[str, Any]:
    """The line of a device: see docs/fleet/fleet.md for its entries. An error of the device is in
    the line. Raises BadTruth."""
    from .devices import cohort_of, copies_on, identify

    limit_threads()  # the bits of a product depend on the number of threads
    truth, start = read(), time.monotonic()
    line = new_line(device)
    try:
        line |= identify(device)
        entries = cohort_of(device, {name: str(line[name]) for name in ("name", "driver")})
        line["cohort"] = entries | {"truth": truth.digest, "dtypes": " ".join(settings.dtypes)}
        worst: tuple[float, str] = (-1.0, "")
        for case in (CASES[name] for name in settings.cases):
            copies = copies_on(device, _numbers(case), case.most_copies)
            line["cohort"] |= {f"copies of {case.name}": str(copies)}
            for dtype in settings.dtypes:
                one = examine(case, dtype, device, truth, copies)
                line["findings"] += one.findings
                worst = max(worst, (one.R, f"{case.name}/{dtype}/{one.tensor}"))
                line["cohort"] |= {f"kernel of {case.name}/{dtype}": one.kernel}
                add_sketches(line, case, dtype, one.sketches)
        line |= {"R": worst[0], "tensor": worst[1]}
        line["verdict"] = UNWELL if line["findings"] else HEALTHY
    except CommandError:
        raise
    except Exception as error:  # of torch, CUDA or the device, whose types torch does not document
        line |= {"verdict": FAILED, "reason": printable(first_line(error))}
        for name in ("digests", "sketches"):
            line.pop(name, None)
    line["seconds"] = round(time.monotonic() - start, 1)
    result: dict[str, Any] = replace_nonfinite(line)
    return result


def failed_line(device: str, reason: str) -> dict[str, Any]:
    """The line of a device whose process ended before it returned one."""
    return new_line(device) | {"reason": printable(reason)}


def new_line(device: str) -> dict[str, Any]:
    """A line of which only the device is known. The host is NODE_NAME where Kubernetes sets it,
    because the host of a container is its pod."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    host = printable(os.environ.get("NODE_NAME") or platform.node())
    known = {"format": FORMAT, "time": now, "host": host, "device": device}
    return known | {"verdict": FAILED, "seed": SEED, "findings": []}


def add_sketches(
    line: dict[str, Any], case: FixedCase, dtype: str, sketches: Mapping[str, Sketch]
) -> None:
    """Add what a cohort compares to a line: one digest of all results, and their sketches."""
    part = f"{case.name}/{dtype}"
    line.setdefault("digests", {})[part] = digest_of(sketches)
    for name, one in sketches.items():
        entry = {"digest": one.digest, "shape": list(one.shape), "dtype": one.dtype}
        line.setdefault("sketches", {})[f"{part}/{name}"] = entry | {"sums": encode(one.sums)}


def _numbers(case: FixedCase) -> int:
    """Roughly how many numbers one copy of a case holds on the device."""
    gates = 4 if case.cell == "LSTM" else 3
    return case.layers * case.T * case.B * (3 * gates * case.H + 6 * case.H)
