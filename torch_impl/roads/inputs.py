"""Inputs whose elements share memory, and batches without rows."""

from collections.abc import Sequence
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


def _length_of_series(shape: Sequence[int]) -> int:
    """The length of a series of which an array of this shape holds windows: its element t, b, i is
    number t + b + i."""
    return sum(shape) - len(shape) + 1


def overlap(problem: Problem) -> Problem:
    """The problem whose x is made of windows of one series, with all strides 1."""
    shape = problem.x.shape
    series = np.resize(problem.x.ravel(), _length_of_series(shape))
    index = sum(np.ix_(*[np.arange(n) for n in shape]))
    return problem._replace(x=series[index])


def overlapping(call: Call) -> Prepared:
    """x as overlapping windows of one series: the leaf's elements share memory."""
    x = call.x.detach()
    series = torch.empty(_length_of_series(x.shape), dtype=x.dtype)
    leaf = series.as_strided(x.shape, [1] * x.dim())
    leaf.copy_(x)  # an element several times, with one value
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
