"""How far an evaluation is, seen from the arithmetic that the reference computes with.

    forward     elements that went through σ, tanh and relu, of those of all gates and of tanh(c)
    backward    sums of gradients, one for each layer and direction

Page: docs/cases/large_cases.md
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from reference.arithmetic import Activation, Arithmetic
from reference.cells.table import CELL_TABLE
from torch_impl.execution.problem import Problem

from ..processes.stages import Stages, current_stages


def watched(problem: Problem, arithmetic: Arithmetic) -> Arithmetic:
    """The arithmetic, whose use for one evaluation of the problem is shown; itself if no stages are
    shown."""
    stages = current_stages()
    if stages is None:
        return arithmetic
    return _watch(problem, arithmetic, stages)


def _watch(problem: Problem, arithmetic: Arithmetic, stages: Stages) -> Arithmetic:
    net, name = problem.net, stages.next()
    rows = sum(problem.lengths) if problem.lengths else int(np.prod(problem.x.shape[:-1]))
    of_row = len(CELL_TABLE[net.mode].gates) + net.mode.startswith("LSTM")
    all_elements = max(1, rows * of_row * net.hidden_size * net.num_layers * net.directions)
    all_sums = net.num_layers * net.directions
    elements = sums = 0

    def show(direction: str, done: int, of: int) -> None:
        stages.show(f"{name}, {direction} {min(100 * done // of, 100)} %")

    def watch(activation: Activation) -> Activation:
        def function(a: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
            nonlocal elements
            value = activation(a, out=out)
            elements += value.size
            if elements < all_elements:
                show("forward", elements, all_elements)
            else:
                show("backward", 0, all_sums)
            return value

        return function

    def sum_gradients(
        gradients: Callable[..., tuple[np.ndarray, Any]],
        params: Any,
        rows: tuple[Any, ...],
        steps: Sequence[slice],
    ) -> tuple[np.ndarray, Any]:
        nonlocal sums
        summed = arithmetic.sum_gradients(gradients, params, rows, steps)
        sums += 1
        show("backward", sums, all_sums)
        return summed

    return arithmetic._replace(
        sigmoid=watch(arithmetic.sigmoid),
        tanh=watch(arithmetic.tanh),
        relu=watch(arithmetic.relu),
        sum_gradients=sum_gradients,
    )
