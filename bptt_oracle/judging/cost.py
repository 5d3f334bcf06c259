"""What judging a case costs, roughly: the time on one core of this machine, and the memory.

    work of an evaluation   6 · rows · weights          operations: two for each product, and the
                                                        backward pass takes twice as many as (1)–(6)
    sums over steps         SUM · pieces · weights      seconds: an addition and a random factor
                                                        come from memory, at no rate of products
    time                    the work of all evaluations (`truth`) over the measured rate, and sums

The time of the implementation that is judged is not part of it.

Memory is that of one evaluation in the wide type, which holds a tape of every layer, and of the
problem and a few of its results.

Page: docs/cases/large_cases.md
"""

import math
import os
import time
from typing import NamedTuple

import numpy as np

from reference.cells.table import CELL_TABLE

from ..cases.case import Case, net_of
from .rounding import LARGE, ROWS, ROWS_OF_LARGE
from .truth import MOVED_RUNS, RENUMBERED_RUNS

LARGE_CASE = 10**8  # numbers, from which the cost is estimated before the work
SUM = 1e-8  # seconds, measured
NARROW_RUNS = 1 + RENUMBERED_RUNS
LONGDOUBLE = 16  # times as long as float64, with products of slices


class Cost(NamedTuple):
    """Expected time in seconds, and memory in bytes."""

    seconds: float
    memory: float


def numbers_of(case: Case) -> float:
    """How many numbers an evaluation of a case holds: its tape, its parameters and its arrays."""
    D, rows = 1 + case.bidirectional, _rows(case)
    gates = len(CELL_TABLE[case.cell].gates)
    F = case.P or case.H
    tape = rows * D * case.layers * case.H * (2 * gates + 4)
    inputs = rows * D * (case.I + (case.layers - 1) * D * F)
    arrays = 4 * case.T * case.B * (case.I + D * F)
    return float(tape + inputs + arrays + 8 * _weights(case))


def estimate(case: Case, dtype: str, rate: float) -> Cost:
    """The cost of judging one result of a case, at `rate` operations a second in float64."""
    rows, weights = _rows(case), _weights(case)
    run = 6 * rows * weights / rate
    most = ROWS_OF_LARGE if weights * rows / ROWS > LARGE else ROWS
    pieces = max(rows / most, case.T)
    summed = run + SUM * pieces * weights
    truth = LONGDOUBLE * run if dtype == "float64" else run
    seconds = truth + run + MOVED_RUNS * summed + NARROW_RUNS * summed / 2
    width = np.dtype(np.longdouble).itemsize if dtype == "float64" else 8
    return Cost(seconds, width * numbers_of(case))


def measure_rate() -> float:
    """Operations a second of products in float64, in 0.1 s."""
    a = np.ones((384, 384))
    a @ a
    start, products = time.perf_counter(), 0
    while time.perf_counter() - start < 0.1:
        a @ a
        products += 1
    return 2 * 384**3 * products / (time.perf_counter() - start)


def machine_memory() -> float:
    """The bytes of memory of this machine; infinite where the system does not report them."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def describe(cost: Cost) -> str:
    """A cost in words: 20 min and 12 GB."""
    hours, minutes = cost.seconds / 3600, cost.seconds / 60
    if hours >= 1.5:
        words = f"{hours:.0f} h"
    else:
        words = f"{minutes:.0f} min" if minutes >= 1.5 else f"{max(cost.seconds, 1):.0f} s"
    return f"{words} and {max(cost.memory / 1e9, 0.1):.1f} GB"


def _rows(case: Case) -> int:
    return sum(case.lengths) if case.lengths else case.T * case.B


def _weights(case: Case) -> int:
    return sum(math.prod(shape) for shape in net_of(case).parameter_shapes().values())
