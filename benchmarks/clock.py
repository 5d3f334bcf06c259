"""Time: contestants take turns, and what is compared was measured side by side."""

import time
from collections.abc import Sequence

import numpy as np

from .contestants import Contestant

FINE = time.get_clock_info("process_time").resolution <= 1e-6
now = time.process_time if FINE else time.perf_counter
TURN = 5.0
CLOCK = "processor time" if FINE else "wall-clock time"


def rounds_of(contestants: Sequence[Contestant], seconds: float) -> np.ndarray:
    """Milliseconds [rounds, contestants, 2] of forward and of both passes.

    As many rounds as fit into `seconds`, three at least, after one that warms up. In its turn a
    contestant runs for `TURN` milliseconds at least, and the mean counts: one run of less would
    tell mostly how cold the others have left the caches.
    """
    for contestant in contestants:
        run(contestant)
    runs = [int(np.ceil(TURN / run(contestant)[1])) for contestant in contestants]
    turns = list(zip(contestants, runs, strict=True))
    once = sum(n * turn(c, n)[1] for c, n in turns) / 1e3
    rounds = min(500, max(3, int(seconds / once)))
    return np.array([[turn(c, n) for c, n in turns] for _ in range(rounds)])


def turn(contestant: Contestant, runs: int) -> np.ndarray:
    """The mean of so many runs."""
    return np.mean([run(contestant) for _ in range(runs)], axis=0)


def run(contestant: Contestant) -> tuple[float, float]:
    """Milliseconds of one forward pass, and of forward and backward."""
    start = now()
    made = contestant.forward()
    middle = now()
    contestant.backward(made)
    return 1e3 * (middle - start), 1e3 * (now() - start)


def ratio(times: np.ndarray, one: int, other: int) -> np.ndarray:
    """The median over rounds of one contestant's time over another's, for each pass."""
    return np.median(times[:, one] / times[:, other], axis=0)
