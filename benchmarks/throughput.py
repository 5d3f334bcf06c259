"""Results of `bptt-oracle check` a second: float32 and float64 on every path that it takes here."""

import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from bptt_oracle.cases.case import Case
from bptt_oracle.cases.corpus import corpus
from bptt_oracle.cli.options import Device, dtypes_of, paths_of
from bptt_oracle.runs.examine import check

WORKERS = 2
RUNS = 3


def small(case: Case) -> bool:
    """One layer in one direction, a few steps of a few rows: what a case costs beside its work."""
    few = case.T <= 5 and max(case.B, case.I, case.H) <= 8
    return few and case.layers == 1 and not case.bidirectional


def throughput(default: int, searched: int) -> Iterable[dict[str, Any]]:
    """Of the first `default` cases, and of the small ones among the first `searched`: the median
    of some runs, wall-clock time, after one that starts the workers' parent."""
    (paths, _), dtypes = paths_of(Device.cpu, None), dtypes_of(None)
    list(check(corpus(2), dtypes, paths, WORKERS))
    for name, cases in (
        (f"the first {default}", corpus(default)),
        (f"the small of the first {searched}", list(filter(small, corpus(searched)))),
    ):
        seconds = []
        for _ in range(RUNS):
            start = time.perf_counter()
            done = [r for some in check(cases, dtypes, paths, WORKERS) for r in some]
            seconds.append(time.perf_counter() - start)
        results = sum(r.verdict != "excluded" for r in done)
        median = float(np.median(seconds))
        yield {
            "cases": name,
            "number": len(cases),
            "results": results,
            "results a second": results / median,
            "fastest run": results / min(seconds),
            "ms a result": 1e3 * median / results,
        }
