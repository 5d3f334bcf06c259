"""`python -m bptt_oracle.fleet.make_truth`: compute the truth of the preflight, and write it.

Truth is the reference in longdouble, rounded to float64; the noise of each dtype is that of the
judge (`judging.truth`). Of a large result only a sample is kept. Run it on another machine than
those that are to be examined; it takes half an hour on one core, and 4 GB.
"""

import sys
import time

import numpy as np

from ..judging.truth import Expected, expect
from ..judging.wide import longdouble_is_wider, narrow
from . import truth_file
from .fixed_cases import CASES, DTYPES, FixedCase, draw_problem, problem_digest, sample


def compute(case: FixedCase) -> dict[str, np.ndarray]:
    """The arrays of the file for one case."""
    problem = draw_problem(case)
    by_dtype: dict[str, Expected] = {}
    truth: dict[str, np.ndarray] = {}
    for dtype in ("float64", *(d for d in DTYPES if d != "float64")):
        started = time.monotonic()
        expected = expect(problem, dtype)
        if not truth:  # of float64, the widest
            truth = {
                name: narrow(value).astype(np.float64).ravel()[sample(case, name, value.size)]
                for name, value in expected.truth.items()
            }
        sampled = {}
        for name, e in expected.elements.items():
            places = sample(case, name, e.sizes.size)
            sampled[name] = e._replace(
                sizes=e.sizes.ravel()[places], deviation=e.deviation.ravel()[places]
            )
        by_dtype[dtype] = expected._replace(truth={}, elements=sampled)
        print(f"{case.name} {dtype}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    packed = truth_file.pack(case, truth, by_dtype)
    return {f"inputs/{case.name}": np.array(problem_digest(problem)), **packed}


def main() -> None:
    if not longdouble_is_wider():
        sys.exit("longdouble has no more digits than double here; use an x86-64 machine with Linux")
    arrays: dict[str, np.ndarray] = {}
    for case in CASES.values():
        arrays |= compute(case)
    digest = truth_file.write(truth_file.FILE, arrays)
    print(f"{digest}  {truth_file.FILE} {truth_file.FILE.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
