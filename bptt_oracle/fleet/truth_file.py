"""The shipped truth of a preflight: samples of every result, with the noise of each dtype.

The file holds plain arrays, and its SHA-256 lies beside it, in the format of sha256sum. Both are
checked before anything of the file is used, and so is the digest of the inputs that truth was
computed from. `python -m bptt_oracle.fleet.make_truth` writes both.
"""

import hashlib
import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from torch_impl.execution.precision import UNIT_ROUNDOFF, stored

from ..judging.noise import ELEMENT_FACTOR, ElementNoise
from ..judging.truth import Expected, floors_of
from ..processes.failures import CommandError
from .fixed_cases import CASES, DTYPES, FixedCase, draw_problem, problem_digest

FILE = Path(__file__).with_name("truth.npz")


Arrays = dict[str, np.ndarray]


class BadTruth(CommandError):
    """The shipped truth is missing, damaged, or belongs to other inputs."""


class Truth(NamedTuple):
    """The shipped truth, and the first 16 digits of its SHA-256."""

    arrays: Arrays
    digest: str

    def expected(self, case: FixedCase, dtype: str) -> Expected:
        """Truth and noise of the sampled elements of each result, flat arrays [n]."""
        u = UNIT_ROUNDOFF[dtype]
        truth, noise, elements = {}, {}, {}
        for name in self.names(case):
            value = self.arrays[f"{case.name}/{name}"]
            s = self.arrays[f"{case.name}/{name}/{dtype}"].astype(np.float64)
            largest, mean, total, ratio = self.arrays[f"{case.name}/{name}/{dtype}/scalars"]
            truth[name], noise[name] = value, (float(largest), float(mean))
            floors = floors_of(dtype, u)
            floor = np.maximum(floors.u * np.abs(value), floors.element)
            sizes = np.maximum(ELEMENT_FACTOR * s, floor) * ratio
            elements[name] = ElementNoise(sizes, s, float(total), floors.tensor / ELEMENT_FACTOR)
        return Expected(truth, noise, False, "", elements, u)

    def names(self, case: FixedCase) -> list[str]:
        """The results of a case, in the order of the file."""
        keys = [key.split("/") for key in self.arrays]
        return [key[1] for key in keys if len(key) == 2 and key[0] == case.name]


def pack(case: FixedCase, truth: Arrays, by_dtype: dict[str, Expected]) -> Arrays:
    """The arrays of the file for one case: sampled truth, and its noise in each dtype."""
    arrays: Arrays = {}
    for name, value in truth.items():
        arrays[f"{case.name}/{name}"] = value
        for dtype, expected in by_dtype.items():
            e = expected.elements[name]
            floors = floors_of(dtype, expected.u)
            floor = np.maximum(floors.u * np.abs(value), floors.element)
            ratio = float((e.sizes / np.maximum(ELEMENT_FACTOR * e.deviation, floor)).max())
            s = stored(e.deviation, "bfloat16")  # eight bits are enough, and compress well
            arrays[f"{case.name}/{name}/{dtype}"] = s
            arrays[f"{case.name}/{name}/{dtype}/scalars"] = np.array(
                [*expected.noise[name], e.total, ratio]
            )
    return arrays


def write(file: Path, arrays: Arrays) -> str:
    """Write the arrays, and their SHA-256 beside them. Returns the SHA-256."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    file.write_bytes(buffer.getvalue())
    file.with_suffix(".sha256").write_text(f"{digest}  {file.name}\n", encoding="ascii")
    return digest


def read(file: Path = FILE) -> Truth:
    """The truth of a file whose digest is the one beside it. Raises BadTruth."""
    advice = "; install bptt-oracle again"
    try:
        content = file.read_bytes()
        stated = file.with_suffix(".sha256").read_bytes().split()
    except OSError as error:
        reason = f"the truth of the preflight cannot be read: {error.filename}: {error.strerror}"
        raise BadTruth(reason + advice) from None
    digest = hashlib.sha256(content).hexdigest()
    if stated[:1] != [digest.encode()]:
        raise BadTruth(f"{file} is damaged: its SHA-256 is not the one beside it{advice}")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise BadTruth(f"{file} is not a file of arrays: {error}{advice}") from None
    truth = Truth(arrays, digest[:16])
    for case in CASES.values():
        own = problem_digest(draw_problem(case))
        if str(arrays.get(f"inputs/{case.name}", "")) != own:
            raise BadTruth(f"{file} is the truth of other inputs than those of {case.name}{advice}")
        missing = [
            dtype
            for dtype in DTYPES
            for name in truth.names(case) or [""]
            if f"{case.name}/{name}/{dtype}/scalars" not in arrays
        ]
        if missing:
            raise BadTruth(f"{file} lacks the noise of {case.name} in {missing[0]}{advice}")
    return truth
