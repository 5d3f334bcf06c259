"""Measure time: the contestants take turns, so that compared times come from the same moments."""

import time
from collections.abc import Sequence

import numpy as np

from .contestants import Contestant

FINE = time.get_clock_info("process_time").resolution <= 1e-6
now = time.process_time if FINE else time.perf_counter
TURN = 5.0  # ms
CLOCK = "processor time" if FINE else "wall-clock time"


def time_rounds(contestants: Sequence[Contestant], seconds: float) -> np.ndarray:
    """Milliseconds [rounds, contestants, 2] of forward and of both passes.

    There are as many rounds as fit into `seconds`, at least three, after one run to warm up. In its
    turn a contestant runs for at least `TURN` milliseconds, and the mean is taken: a shorter run
    would mostly measure how cold the other contestants have left the caches.
    """
    for contestant in contestants:
        run(contestant)
    runs = [int(np.ceil(TURN / run(contestant)[1])) for contestant in contestants]
    turns = list(zip(contestants, runs, strict=True))
    round_seconds = sum(n * turn(c, n)[1] for c, n in turns) / 1e3
    rounds = min(500, max(3, int(seconds / round_seconds)))
    return np.array([[turn(c, n) for c, n in turns] for _ in range(rounds)])


def turn(contestant: Contestant, runs: int) -> np.ndarray:
    """Milliseconds [2] of forward and of both passes, the mean of `runs` runs."""
    mean: np.ndarray = np.mean([run(contestant) for _ in range(runs)], axis=0)
    return mean


def run(contestant: Contestant) -> tuple[float, float]:
    """Milliseconds of one forward pass, and of forward and backward."""
    start = now()
    outcome = contestant.forward()
    middle = now()
    contestant.backward(outcome)
    return 1e3 * (middle - start), 1e3 * (now() - start)


def median_ratio(times: np.ndarray, one: int, other: int) -> np.ndarray:
    """The ratio [2] of one contestant's times to another's, the median over the rounds."""
    median: np.ndarray = np.median(times[:, one] / times[:, other], axis=0)
    return median
