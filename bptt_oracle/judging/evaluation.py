"""A problem evaluated by the reference: outputs, final states and all gradients by name."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from reference.arithmetic import NUMPY, Arithmetic
from reference.derivatives import second_order, tangent
from reference.derivatives.dual import Dual, map_dual
from reference.nets.state import join_state, split_state
from reference.sequences import packing
from torch_impl.execution.problem import Direction, Problem

from .watching import watched

Results = dict[str, np.ndarray]


def evaluate(
    problem: Problem,
    dtype: Any,
    masks: Sequence[np.ndarray] = (),
    arithmetic: Arithmetic = NUMPY,
) -> Results:
    """The results in one dtype, by torch_impl's names: output, h_n, c_n, d_x, d_h_0, d_c_0, and d_
    before the name of a parameter. The problem is cast; packed batches are padded, in the order
    given. `masks` are the dropout masks of zeros and ones."""
    return evaluate_cast(problem, lambda value: np.asarray(value, dtype), masks, arithmetic)


def evaluate_cast(
    problem: Problem,
    cast: Callable[[np.ndarray], np.ndarray],
    masks: Sequence[np.ndarray],
    arithmetic: Arithmetic,
) -> Results:
    """As `evaluate`, each array of the problem passed through `cast` first."""
    arithmetic = watched(problem, arithmetic)
    if problem.direction is not None:
        return _evaluate_along(problem, problem.direction, cast, masks, arithmetic)
    net, lengths = problem.net, problem.lengths

    def cast_optional(value: np.ndarray | None) -> np.ndarray | None:
        return None if value is None else cast(value)

    def pack(value: Any) -> Any:
        if value is None or lengths is None:
            return value
        return packing.pack_padded_sequence(value, lengths, enforce_sorted=problem.enforce_sorted)

    def pad(value: Any) -> np.ndarray:
        return value if lengths is None else packing.pad_packed_sequence(value)[0]

    x = cast(problem.x)
    params = {name: cast(p) for name, p in problem.params.items()}
    state = None if problem.state is None else join_state([cast(s) for s in problem.state])
    packed_masks = [pack(mask.astype(x.dtype)) for mask in masks] or None
    output, final, tape = net.forward(params, pack(x), state, packed_masks, arithmetic)
    d_state = join_state([cast_optional(d) for d in problem.d_state])
    grads = net.backward(tape, pack(cast_optional(problem.d_output)), d_state)
    results = {"output": pad(output), "d_x": pad(grads.x)}
    results |= dict(zip(("h_n", "c_n"), split_state(final), strict=False))
    if state is not None:
        results |= dict(zip(("d_h_0", "d_c_0"), split_state(grads.state), strict=False))
    return results | _parameters(problem, "d_", grads.params)


def _parameters(problem: Problem, prefix: str, grads: Results) -> Results:
    """Gradients by name; one array under two names is one parameter, whose gradients add."""
    tied: dict[int, Any] = {}
    for name, d in grads.items():
        tied[id(problem.params[name])] = tied.get(id(problem.params[name]), 0) + d
    return {f"{prefix}{name}": tied[id(problem.params[name])] for name in grads}


def _evaluate_along(
    problem: Problem,
    direction: Direction,
    cast: Callable[[np.ndarray], np.ndarray],
    masks: Sequence[np.ndarray],
    arithmetic: Arithmetic,
) -> Results:
    """As `evaluate_cast`, and derivatives along the direction: t_output, t_h_n and t_c_n of the
    outputs, hv_x, hv_h_0, hv_c_0 and hv_ before the name of a parameter of the gradients."""
    net, lengths = problem.net, problem.lengths

    def pack(value: np.ndarray) -> Any:
        if lengths is None:
            return value
        return packing.pack_padded_sequence(value, lengths, enforce_sorted=problem.enforce_sorted)

    def pad(value: Any) -> np.ndarray:
        return value if lengths is None else packing.pad_packed_sequence(value)[0]

    def constant(value: np.ndarray) -> Dual[np.ndarray]:
        return Dual(value, np.zeros_like(value))

    x = Dual(pack(cast(problem.x)), pack(cast(direction.x)))
    names = list(problem.params)
    params = Dual(
        {n: cast(problem.params[n]) for n in names}, {n: cast(direction.params[n]) for n in names}
    )
    state = None
    if problem.state is not None:
        halves = problem.state, direction.state or ()
        state = Dual(*[join_state([cast(s) for s in half]) for half in halves])
    dtype = cast(problem.x).dtype
    packed_masks = [pack(mask.astype(dtype)) for mask in masks] or None
    output, final, tape = tangent.forward(net, params, x, state, packed_masks, arithmetic)
    values = [pad(output.value), *split_state(final.value)]
    tangents = [pad(output.dot), *split_state(final.dot)]
    given = [
        constant(np.zeros_like(y) if d is None else cast(d))
        for y, d in zip(values, (problem.d_output, *problem.d_state), strict=True)
    ]
    d_state = Dual(*[join_state([d[k] for d in given[1:]]) for k in (0, 1)])
    grads = second_order.backward(net, tape, map_dual(pack, given[0]), d_state)
    outputs = ("output", "h_n", "c_n")
    results = dict(zip(outputs, values, strict=False))
    results |= dict(zip((f"t_{name}" for name in outputs), tangents, strict=False))
    for prefix, half in zip(("d_", "hv_"), grads, strict=True):
        results[f"{prefix}x"] = pad(half.x)
        if state is not None:
            names = [f"{prefix}h_0", f"{prefix}c_0"]
            results |= dict(zip(names, split_state(half.state), strict=False))
        results |= _parameters(problem, prefix, half.params)
    return results
