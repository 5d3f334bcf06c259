"""A problem evaluated by the reference: outputs, final states and all gradients by name."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from reference.arithmetic import NUMPY, Arithmetic
from reference.nets.state import join_state, split_state
from reference.sequences import packing
from torch_impl.execution.problem import Problem

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
    tied: dict[int, Any] = {}  # one array under two names is one parameter: its gradients add
    for name, d in grads.params.items():
        tied[id(problem.params[name])] = tied.get(id(problem.params[name]), 0) + d
    return results | {f"d_{name}": tied[id(problem.params[name])] for name in grads.params}
