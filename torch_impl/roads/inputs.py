"""Inputs whose elements share memory, and batches without rows."""

from typing import Any

import numpy as np
import torch

from ..execution.calls import Call, Prepared
from ..execution.problem import Problem
from ..execution.variants import evaluate
from .road import forward_of_module, module_of, require


def _axes(problem: Problem) -> tuple[int, int]:
    """The axes of time and batch of a batch that is not packed."""
    return (1, 0) if problem.net.batch_first else (0, 1)


def repeat_first_row(problem: Problem) -> Problem:
    """The problem with the first row of x in every row, and of the state."""
    _, batch = _axes(problem)

    def repeat(value: np.ndarray, axis: int) -> np.ndarray:
        return np.repeat(value.take([0], axis), value.shape[axis], axis)

    state = problem.state and tuple(repeat(s, 1) for s in problem.state)
    return problem._replace(x=repeat(problem.x, batch), state=state)


def expanded(call: Call) -> Prepared:
    """x and the state of one row, expanded to all: the leaves have the stride 0."""
    batch = 0 if call.net.batch_first else 1

    def expand(value: torch.Tensor, axis: int) -> torch.Tensor:
        one = value.detach().narrow(axis, 0, 1).clone()
        leaf = one.expand(value.shape).requires_grad_()
        require(leaf.stride(axis) == 0, "the leaf should have a stride of 0")
        return leaf

    state = call.state and [expand(s, 1) for s in call.state]
    changed = call._replace(x=expand(call.x, batch), state=state)
    return Prepared(forward_of_module(module_of(call)), changed, evaluate)


def _windows(series: Any, problem_or_call: Any) -> tuple[list[int], list[int]]:
    """Shape and strides of x as windows of a series [I + T + B − 2]: element t, b, i is number
    t + b + i."""
    shape = list(problem_or_call.x.shape)
    return shape, [1] * len(shape)


def overlap(problem: Problem) -> Problem:
    """The problem whose x is made of windows of one series, with all strides 1."""
    shape, _ = _windows(None, problem)
    count = sum(shape) - len(shape) + 1
    series = np.resize(problem.x.ravel(), count)
    index = sum(np.ix_(*[np.arange(n) for n in shape]))
    return problem._replace(x=series[index])


def overlapping(call: Call) -> Prepared:
    """x as overlapping windows of one series: the leaf's elements share memory."""
    shape, strides = _windows(None, call)
    x = call.x.detach()
    count = sum(shape) - len(shape) + 1
    series = torch.empty(count, dtype=x.dtype)
    series.as_strided(shape, strides).copy_(x)  # equal elements, in any order
    leaf = series.as_strided(shape, strides)
    require(bool((leaf == x).all()), "the windows should hold the values of x")
    changed = call._replace(x=leaf.requires_grad_())
    return Prepared(forward_of_module(module_of(call)), changed, evaluate)


def remove_rows(problem: Problem) -> Problem:
    """The problem with a batch of 0 rows."""
    _, batch = _axes(problem)

    def none(value: np.ndarray | None, axis: int) -> Any:
        return None if value is None else value.take([], axis)

    return problem._replace(
        x=none(problem.x, batch),
        state=problem.state and tuple(none(s, 1) for s in problem.state),
        d_output=none(problem.d_output, batch),
        d_state=tuple(none(d, 1) for d in problem.d_state),
    )


def without_rows(call: Call) -> Prepared:
    """A batch of 0 rows; memory that is not initialised is NaN."""
    rows = call.x.shape[0 if call.net.batch_first else 1]
    require(rows == 0, "the batch should have no rows")
    return Prepared(forward_of_module(module_of(call)), call, evaluate)
