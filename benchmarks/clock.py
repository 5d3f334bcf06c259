"""Measure time: the contestants take turns, so that compared times come from the same moments."""

import time
from collections.abc import Sequence

import numpy as np

from .contestants import Contestant

FINE = time.get_clock_info("process_time").resolution <= 1e-6
processor = time.process_time if FINE else time.perf_counter
wall = time.perf_counter
TURN = 5.0  # ms
CLOCK = "processor time" if FINE else "wall-clock time"
PROCESSOR, WALL = 0, 1  # the clocks, in the order of the axis


def time_rounds(contestants: Sequence[Contestant], seconds: float) -> np.ndarray:
    """Milliseconds [rounds, contestants, 2, 2], on both clocks, of forward and of both passes.

    There are as many rounds as fit into `seconds`, at least three, after one run to warm up. In its
    turn a contestant runs for at least `TURN` milliseconds, and the mean is taken: a shorter run
    would mostly measure how cold the other contestants have left the caches.
    """
    for contestant in contestants:
        run(contestant)
    runs = [int(np.ceil(TURN / run(contestant)[PROCESSOR, 1])) for contestant in contestants]
    turns = list(zip(contestants, runs, strict=True))
    round_seconds = sum(n * turn(c, n)[PROCESSOR, 1] for c, n in turns) / 1e3
    rounds = min(500, max(3, int(seconds / round_seconds)))
    return np.array([[turn(c, n) for c, n in turns] for _ in range(rounds)])


def turn(contestant: Contestant, runs: int) -> np.ndarray:
    """Milliseconds [2, 2] of `run`, the mean of `runs` runs."""
    mean: np.ndarray = np.mean([run(contestant) for _ in range(runs)], axis=0)
    return mean


def run(contestant: Contestant) -> np.ndarray:
    """Milliseconds [2, 2], on both clocks, of one forward pass, and of forward and backward."""
    start = processor(), wall()
    outcome = contestant.forward()
    middle = processor(), wall()
    contestant.backward(outcome)
    end = processor(), wall()
    return 1e3 * (np.array([middle, end]) - start).T


def median_ratio(times: np.ndarray, one: int, other: int) -> np.ndarray:
    """The ratio [2, 2] of one contestant's times to another's, the median over the rounds."""
    median: np.ndarray = np.median(times[:, one] / times[:, other], axis=0)
    return median
