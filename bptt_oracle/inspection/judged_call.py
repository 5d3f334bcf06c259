"""One recorded call of a layer judged by truth: a problem, torch's results, and the verdict.

The problem is what torch got while the model trained: the input, the initial state and the weights
of the call, and the gradients that arrived at its outputs. The results are what torch made of it:
the outputs, and the gradients of input, initial state and weights. A tensor whose gradient torch
did not compute, such as that of frozen weights, is not judged.

Page: docs/runs/your_model.md
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from torch_impl.execution.precision import UNIT_ROUNDOFF
from torch_impl.execution.problem import Problem

from ..cases.case import Case
from ..doors.judgement import net_of_parameters
from ..judging.confirmation import judge_and_confirm
from ..judging.judge import Verdict
from ..judging.location import location
from ..judging.truth import Expected
from ..runs.examine import expect_in_precision
from .layer_call import LayerCall, by_parameter
from .replay import steps_and_rows

OUTPUTS = ("output", "h_n", "c_n")


class JudgedCall(NamedTuple):
    """A call, what was judged, and the verdict."""

    problem: Problem
    results: dict[str, np.ndarray]
    expected: Expected  # of the results
    verdict: Verdict
    dtype: str
    place: str  # of the worst element, in words


def judge_call(call: LayerCall) -> JudgedCall:
    """Judge a call recorded with gradients. Raises ValueError for a dtype that cannot be judged."""
    dtype = str(call.dtype).removeprefix("torch.")
    if dtype not in UNIT_ROUNDOFF:
        raise ValueError(f"{call.module} computes in {dtype}, which cannot be judged")
    problem, results = problem_of(call), results_of(call)
    precision = call.product_dtype or product_precision(call.device, dtype)

    def expect_with(effort: int = 1) -> Expected:
        return expect_in_precision(problem, dtype, precision, [], effort).of(results)

    verdict, expected = judge_and_confirm(results, expect_with(), False, expect_with)
    place = location(_case_of(call, problem), verdict.worst.tensor, verdict.worst.at)
    return JudgedCall(problem, results, expected, verdict, dtype, place)


def problem_of(call: LayerCall) -> Problem:
    """The net of one layer, and the numbers that torch got, in float64 and in the caller's order
    of rows."""
    params = {
        name: np.asarray(value, np.float64)
        for name, value in by_parameter([p._asdict() for p in call.params]).items()
        if value is not None
    }
    shapes = {name: value.shape for name, value in params.items()}
    padded, sorted_lengths = _padding(call), _lengths(call)
    lengths = None if sorted_lengths is None else _in_order(call, np.array([sorted_lengths]))[0]
    given = {"x": padded(call.x)} | {name: _in_order(call, d) for name, d in _states(call).items()}
    given = {name: np.asarray(value, np.float64) for name, value in given.items()}
    d_output = call.cotangents.get("output")
    return Problem(
        net=net_of_parameters(shapes, call.mode, False),
        params=params,
        x=given["x"],
        lengths=None if lengths is None else tuple(int(n) for n in lengths),
        enforce_sorted=False,
        state=tuple(given[name] for name in ("h_0", "c_0")[: len(call.initial)]),
        d_output=None if d_output is None else np.asarray(padded(d_output), np.float64),
        d_state=tuple(given.get(name) for name in OUTPUTS[1 : 1 + len(call.final)]),
        strided=False,
        seed=0,
    )


def _states(call: LayerCall) -> dict[str, np.ndarray]:
    """The initial state, and the gradients that arrived at the final one, [D, B, ·]."""
    arrived = {name: d for name, d in call.cotangents.items() if name != "output"}
    return dict(zip(("h_0", "c_0"), call.initial, strict=False)) | arrived


def results_of(call: LayerCall) -> dict[str, np.ndarray]:
    """What torch returned and the gradients that it computed, by name, in the problem's layout."""
    padded = _padding(call)
    results = {"output": padded(call.output)}
    for name, field in zip(OUTPUTS[1:], call.final, strict=False):
        results[name] = _in_order(call, field)
    for name, value in call.gradients.items():
        if name == "x":
            value = padded(value)
        elif name in ("h_0", "c_0"):
            value = _in_order(call, value)
        results[f"d_{name}"] = value
    return results


def product_precision(device: str, dtype: str) -> str:
    """The precision in which torch multiplies matrices in a recurrent net of a dtype, with the
    switches as they are."""
    if dtype != "float32":
        return dtype
    backend = torch.backends.cudnn if device == "cuda" else torch.backends.mkldnn
    precision = getattr(getattr(backend, "rnn", None), "fp32_precision", None)
    if device == "cuda":
        owner: Any = torch.backends.cudnn if torch.backends.cudnn.enabled else torch.backends.cuda
        if owner is torch.backends.cuda:
            owner, precision = owner.matmul, getattr(owner.matmul, "fp32_precision", None)
        if precision in (None, "none"):  # only the older switch decides
            precision = "tf32" if owner.allow_tf32 else "ieee"
        return "tf32" if precision == "tf32" else dtype
    return {"tf32": "tf32", "bf16": "bfloat16"}.get(str(precision), dtype)


def _padding(call: LayerCall) -> Callable[[np.ndarray], np.ndarray]:
    """The function that makes [T, B, ·] of rows [N, ·]."""
    T, B = len(call.batch_sizes), int(call.batch_sizes[0])
    places = steps_and_rows(call.batch_sizes)

    def padded(rows: np.ndarray) -> np.ndarray:
        result = np.zeros((T, B, rows.shape[1]), rows.dtype)
        result[places] = rows
        return _in_order(call, result)

    return padded


def _in_order(call: LayerCall, values: np.ndarray) -> np.ndarray:
    """Values [·, B, …] of rows sorted by length, in the caller's order."""
    return values if call.order is None else values[:, np.argsort(call.order)]


def _lengths(call: LayerCall) -> tuple[int, ...] | None:
    """The lengths of the rows, the longest first; None if they are equal."""
    sizes = call.batch_sizes
    if sizes[0] == sizes[-1]:
        return None
    return tuple(int((sizes > b).sum()) for b in range(sizes[0]))


def _case_of(call: LayerCall, problem: Problem) -> Case:
    """A case of the same sizes, by which places are named."""
    T, B, I = problem.x.shape  # noqa: E741  the input size, as in every equation
    net, two = problem.net, call.directions == 2
    P = net.proj_size or 0 if net.cell.projection else 0
    return Case(call.mode, T, B, I, net.hidden_size, bidirectional=two, P=P)
