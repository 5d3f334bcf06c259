"""Results of `bptt-oracle check` per second: float32 and float64, on every path of this CPU."""

import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from bptt_oracle.cases.case import Case
from bptt_oracle.cases.corpus import corpus
from bptt_oracle.cli.options import Device, dtypes_of, paths_of
from bptt_oracle.runs.checking import check

WORKERS = 2
RUNS = 3


def is_small(case: Case) -> bool:
    """One layer, one direction, few steps, few rows: its time is mostly the overhead of a case."""
    short = case.T <= 5 and max(case.B, case.I, case.H) <= 8
    return short and case.layers == 1 and not case.bidirectional


def measure_throughput(default: int, searched: int) -> Iterable[dict[str, Any]]:
    """Measure the first `default` cases, and the small ones among the first `searched`: wall-clock
    time, the median of RUNS runs, after one that starts the parent of the workers."""
    (paths, _), dtypes = paths_of(Device.cpu, None), dtypes_of(None)
    list(check(corpus(2), dtypes, paths, WORKERS))
    for name, cases in (
        (f"the first {default}", corpus(default)),
        (f"the small of the first {searched}", list(filter(is_small, corpus(searched)))),
    ):
        seconds = []
        for _ in range(RUNS):
            start = time.perf_counter()
            finished = [r for some in check(cases, dtypes, paths, WORKERS) for r in some]
            seconds.append(time.perf_counter() - start)
        results = sum(r.verdict != "excluded" for r in finished)
        median = float(np.median(seconds))
        yield {
            "cases": name,
            "number": len(cases),
            "results": results,
            "results a second": results / median,
            "fastest run": results / min(seconds),
            "ms a result": 1e3 * median / results,
        }
