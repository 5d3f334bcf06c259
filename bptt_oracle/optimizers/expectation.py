"""The true parameters and states of an optimiser after its steps, and their noise.

Truth is the reference in a wider type (`judging.wide`), with every number of the options converted
to it exactly. The noise is made of the errors of evaluations of the same steps: one that rounds
every result to the tested dtype, and some that move every result by one unit roundoff (`rounded`).
An element's step depends on no other element, so all parameters are one vector here, whatever
their layout.

Where the evaluation in the tested dtype overflows or divides by a zero that was rounded to it, and
where truth lies beyond what the dtype holds, the noise is infinite and the case decides nothing.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from torch_impl.execution.precision import UNIT_ROUNDOFF, stored
from torch_impl.optimizers.run import OptimizerProblem
from torch_impl.optimizers.table import (
    OPTIMIZERS,
    options_of_update,
    slots_of,
    starting_slots,
)

from ..judging.noise import deviation_of, element_noise, tensor_noise
from ..judging.truth import Expected, floors_of, largest_of
from ..judging.wide import difference, narrow, wide_dtype, widen
from .rounded import DifferentBranches, Rounding, as_rounded, moved, to_nearest

MOVED_RUNS = 6
Results = dict[str, np.ndarray]
Convert = Callable[[Any], Any]


def evaluate(
    problem: OptimizerProblem,
    array: Convert,
    number: Convert,
    update: Callable[..., Any] | None = None,
) -> Results:
    """θ and states after all steps, by the reference or another `update`; `array` converts θ and
    gradients, `number` each number of the options."""
    name = problem.optimizer
    update = update or OPTIMIZERS[name].update
    options = {n: _converted(v, number) for n, v in problem.options.items()}
    theta = array(_flat(problem.theta))
    slots: Any = starting_slots(name, options, theta)
    for t, grads in enumerate(problem.grads, 1):
        theta, *slots = update(
            theta, array(_flat(grads)), t, *slots, **options_of_update(name, options)
        )
    results = _by_name(problem, "", theta)
    for slot, value in zip(slots_of(name, options), slots, strict=True):
        if slot is not None:
            results |= _by_name(problem, f".{slot.name}", value)
    for key, value in OPTIMIZERS[name].numbers(len(problem.grads), options).items():
        results |= {f"{n}.{key}": np.asarray(value) for n in problem.theta}
    return results


def _converted(value: Any, number: Convert) -> Any:
    if isinstance(value, tuple):
        return tuple(number(v) for v in value)
    return value if isinstance(value, bool) else number(value)


def _flat(arrays: Results) -> np.ndarray:
    return np.concatenate([a.ravel() for a in arrays.values()])


def _by_name(problem: OptimizerProblem, suffix: str, flat: np.ndarray) -> Results:
    """The parts of [n] or [n, runs] under the names of the parameters with a suffix."""
    flat, found, start = np.asarray(flat), {}, 0
    for name, value in problem.theta.items():
        part = flat[start : start + value.size].view(np.ndarray)
        found[name + suffix] = part.reshape(value.shape + flat.shape[1:])
        start += value.size
    return found


def expect(problem: OptimizerProblem, dtype: str, effort: int = 1) -> Expected:
    """Truth and noise of a problem in a dtype; `effort` multiplies the number of moved runs."""
    wide, u = wide_dtype(dtype), UNIT_ROUNDOFF[dtype]
    limits = np.finfo("float32" if dtype == "bfloat16" else dtype)
    floors = floors_of(dtype, u)
    with np.errstate(all="ignore"):
        truth = evaluate(problem, lambda v: widen(v, wide), lambda v: widen(v, wide)[()])
        nearest = _run(problem, to_nearest(dtype), np.dtype(np.float64))
        runs = [nearest, *moved_runs(problem, dtype, effort * MOVED_RUNS, wide)]
        errors = [_errors(run, truth, dtype) for run in runs]
        overflow = any(np.isinf(e).any() for e in errors[0].values()) or any(
            largest_of(value) > limits.max for value in truth.values()
        )
        noise, deviations = {}, {}
        for name, exact in truth.items():
            own, value = [e[name] for e in errors], narrow(exact)
            noise[name] = tensor_noise(own, value, floors)
            overflow |= bool(np.isinf(noise[name][0]))
            if not overflow:
                deviations[name] = deviation_of(own, value, floors)
        if overflow:
            return Expected(truth, dict.fromkeys(noise, (np.inf, np.inf)), False)
        elements = {n: element_noise(d, d.ratio) for n, d in deviations.items()}
    return Expected(truth, noise, False, "", elements, u)


def _run(problem: OptimizerProblem, rounding: Rounding, wide: np.dtype) -> Results:
    """The results of an evaluation that rounds, or moves, in a wide dtype."""

    def convert(value: Any) -> Any:
        return as_rounded(widen(value, wide), rounding)

    results = evaluate(problem, convert, convert)
    return {name: np.asarray(value).view(np.ndarray) for name, value in results.items()}


def moved_runs(problem: OptimizerProblem, dtype: str, count: int, wide: np.dtype) -> list[Results]:
    """The results of `count` moved evaluations, all at once if they take the same branches: an
    array of n elements is [n, count] then. Another count has other random numbers."""
    steps = len(problem.grads)
    rounding = moved(dtype, np.random.default_rng([count, steps]), axes=1)

    def repeated(value: Any) -> Any:
        wider = widen(value, wide)
        return as_rounded(np.repeat(wider[..., None], count, axis=-1), rounding)

    try:
        stacked = evaluate(problem, repeated, repeated)
    except DifferentBranches:
        return [
            _run(problem, moved(dtype, np.random.default_rng([k, steps])), wide)
            for k in range(count)
        ]
    # A number that no moved number enters has no axis for the evaluations.
    every = {n: np.asarray(v).view(np.ndarray) for n, v in stacked.items()}
    every = {n: v if v.ndim else np.repeat(v[None], count) for n, v in every.items()}
    return [{n: v[..., k] for n, v in every.items()} for k in range(count)]


def _errors(run: Results, truth: Results, dtype: str) -> Results:
    """run − truth by name; infinite where only the run is not finite, 0 where truth is not.

    A number of the state is stored in float64 for float64 parameters, otherwise in float32.
    """
    errors = {}
    for name, exact in truth.items():
        value = run[name]
        if not exact.ndim and dtype != "float64":
            value = stored(np.asarray(value, dtype=np.float64), "float32")
        error, known = difference(value, exact), np.isfinite(narrow(exact))
        errors[name] = np.where(known, np.where(np.isfinite(error), error, np.inf), 0.0)
    return errors
