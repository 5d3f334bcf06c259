"""Sums over time in the order in which backpropagation meets their terms.

    δW = ((δ_{T−1}ᵀ x_{T−1} + δ_{T−2}ᵀ x_{T−2}) + …) + δ_0ᵀ x_0        every sum rounded

The reference adds up a parameter's gradient over the rows of all steps at once; a loop of steps
adds one product after another, the last step's first. Over T steps that rounds more, by about √T,
and by T where the terms shrink on their way back, for then what comes late is lost in what is
there already. A batch of many rows is such a sum, too, so the rows of a step are taken a few at a
time. It is rounding all the same, and so it belongs to the noise.

Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., ch. 4.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from reference.nets import stack
from reference.sequences.checkpoint import add
from reference.sequences.unroll import rows_of

ROWS = 8  # of a step, at most, in one product; one at a time would take too long


@contextmanager
def step_by_step(rounded: Callable[[np.ndarray], np.ndarray] | None = None) -> Iterator[None]:
    """While this lasts, nets sum the gradients of their parameters so. Where the arithmetic does
    not round by itself, every sum goes through `rounded`."""
    at_once = stack.unroll_back

    def unroll_back(cell: Any, tape: Any, d_output: np.ndarray, d_state: Any) -> Any:
        pieces = [
            slice(start, min(start + ROWS, step.stop))
            for step in tape.schedule.steps
            for start in range(step.start, step.stop, ROWS)
        ]

        def gradients(params: Any, x: np.ndarray, h: np.ndarray, tape: Any, delta: Any) -> Any:
            d_x, total = np.empty_like(x), None
            for now in reversed(pieces):
                of_piece = x[now], h[now], rows_of(tape, now), rows_of(delta, now)
                d_x[now], found = cell.gradients(params, *of_piece)
                total = found if total is None else add(total, found)
                if rounded is not None:
                    total = total._make([None if d is None else rounded(d) for d in total])
            return d_x, total

        return at_once(cell._replace(gradients=gradients), tape, d_output, d_state)

    stack.unroll_back = unroll_back
    try:
        yield
    finally:
        stack.unroll_back = at_once
