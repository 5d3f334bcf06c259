"""An implementation's answer to a problem: what every adapter would otherwise repeat.

    arrays are cast to the tested dtype; batches become [T, B, ·]
    cotangents are 0 where there is padding, and the output is set to 0 there, as
    pad_packed_sequence does
    one array under two names is one parameter: its gradients add

`review` compares what came with what was promised, so that a wrong dtype, a wrong shape and a
missing tensor become verdicts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from torch_impl.execution.precision import stored
from torch_impl.execution.problem import Problem

from .engines import Inputs, Leaves, engine_named
from .implementation import Answer, Implementation
from .stacking import WrongReturn, net_of_layers, unpack

OUTPUTS = ("output", "h_n", "c_n")
STATES = ("h_0", "c_0")


def compute(implementation: Implementation, problem: Problem, dtype: str) -> Answer:
    """What the implementation returns for a problem in a tested dtype, before it is reviewed.
    Raises whatever the implementation raises; RuntimeError if it ends the program."""
    try:
        return _compute(implementation, problem, dtype)
    except SystemExit as error:
        ended = RuntimeError(f"it ended the program, SystemExit: {error.code}")
        raise ended.with_traceback(error.__traceback__) from None


def _compute(implementation: Implementation, problem: Problem, dtype: str) -> Answer:
    if implementation.run is not None:
        returned = implementation.run(problem, dtype)
        return returned if isinstance(returned, Answer) else Answer(dict(returned))
    if implementation.module is not None:
        from .torch_modules import run_module

        return run_module(implementation, problem, dtype)
    return _run_net(implementation, problem, dtype)


def _run_net(implementation: Implementation, problem: Problem, dtype: str) -> Answer:
    engine = engine_named(implementation.engine)
    run_net = implementation.net or net_of_layers(_required_layer(implementation), engine)
    leaves, cotangents, mask = _arrays(problem, dtype)
    states = [name for name in STATES if name in leaves]
    back: Any = None
    if implementation.engine in ("numpy", "none"):  # so that writing into an argument raises
        for array in (*leaves.values(), *cotangents):
            array.flags.writeable = False

    def function(tensors: dict[str, Any]) -> Sequence[Any]:
        nonlocal back
        params = {name: tensors[name] for name in problem.params}
        state = [tensors[name] for name in states] or None
        returned = run_net(problem.net, params, tensors["x"], state, problem.lengths)
        output, final, back = unpack(returned, "net" if implementation.net else "layer")
        if len(final) > len(problem.d_state):
            raise WrongReturn(
                f"{len(final)} final states were returned; {problem.net.mode} has "
                f"{len(problem.d_state)}"
            )
        for name, value, d in zip(OUTPUTS, (output, *final), cotangents, strict=False):
            _check_shape(name, value, d.shape)
        return [output, *final]

    inputs = Inputs(leaves, cotangents, dtype, implementation.device)
    values, grads = engine.differentiate(function, inputs)
    if implementation.engine == "numpy":
        if back is None:
            raise WrongReturn(
                "(output, final) was returned without a backward pass; return (output, final, "
                "back), or set engine='none' if only values are to be judged"
            )
        grads = _numpy_gradients(back, cotangents, leaves)
    returned = dict(zip(OUTPUTS, values, strict=False))
    returned |= {f"d_{name}": g for name, g in (grads or {}).items()}
    results, errors = {}, {}
    for name, value in returned.items():
        results[name], kind = engine.to_array(value)
        if kind != dtype:
            errors[name] = f"{name} came as {kind}, expected {dtype}"
    return Answer(_in_layout(problem, results, mask), errors=errors)


def _check_shape(name: str, value: Any, expected: tuple[int, ...]) -> None:
    """Raise WrongReturn if a value has another shape; it could not be differentiated."""
    shape = getattr(value, "shape", None)
    if shape is None:  # a list, which `review` reports
        return
    came = tuple(int(n) for n in shape)
    if came != expected:
        swapped = came[:2] == expected[1::-1] and came[2:] == expected[2:]
        hint = "; are batch and time swapped?" * (swapped and name == "output")
        raise WrongReturn(f"{name} has shape {list(came)}, expected {list(expected)}{hint}")


def _required_layer(implementation: Implementation) -> Any:
    if implementation.layer is None:
        raise ValueError(
            f"the implementation {implementation.name!r} has no function; give layer, net, run or "
            "module"
        )
    return implementation.layer


def _numpy_gradients(back: Any, cotangents: Sequence[np.ndarray], leaves: Leaves) -> dict[str, Any]:
    """Gradients by the implementation's own backward pass, by the names of the leaves."""
    returned = back(cotangents[0], cotangents[1:])
    if not isinstance(returned, (tuple, list)) or len(returned) != 3:
        raise WrongReturn(
            f"back returned a {type(returned).__name__}; expected (d_params, d_x, d_state)"
        )
    d_params, d_x, d_state = returned
    states = [name for name in STATES if name in leaves]
    return {"x": d_x, **dict(zip(states, d_state or (), strict=False)), **d_params}


def _arrays(
    problem: Problem, dtype: str
) -> tuple[dict[str, np.ndarray], list[np.ndarray], np.ndarray]:
    """The leaves x [T, B, I], h_0, c_0 and parameters; a cotangent for each output; and the mask
    [T, B, 1] of steps within the length of their row."""
    net = problem.net

    def cast(value: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(stored(value, dtype))

    def with_batch(value: np.ndarray) -> np.ndarray:
        return value[:, None] if problem.x.ndim == 2 else value

    def time_major(value: np.ndarray) -> np.ndarray:
        value = with_batch(value)
        return value.swapaxes(0, 1) if net.batch_first and problem.x.ndim == 3 else value

    leaves = {"x": cast(time_major(problem.x))}
    if problem.state is not None:
        pairs = zip(STATES, problem.state, strict=False)
        leaves |= {name: cast(with_batch(s)) for name, s in pairs}
    leaves |= {name: cast(p) for name, p in problem.params.items()}
    T, B, _ = leaves["x"].shape
    mask = np.ones((T, B, 1), dtype=bool)
    if problem.lengths is not None:
        mask = (np.arange(T)[:, None] < np.array(problem.lengths))[..., None]
    d_output = np.zeros((T, B, net.directions * net.output_size))
    if problem.d_output is not None:
        d_output = time_major(problem.d_output) * mask
    cotangents = [cast(d_output)]
    for width, d in zip(net.state_sizes, problem.d_state, strict=True):
        shape = (net.num_layers * net.directions, B, width)
        cotangents.append(cast(np.zeros(shape) if d is None else with_batch(d)))
    return leaves, cotangents, mask


def _in_layout(
    problem: Problem, results: Mapping[str, Any], mask: np.ndarray
) -> dict[str, np.ndarray]:
    """The results in the problem's layout, the output 0 in padding, gradients of tied parameters
    added. What is not an array of the right shape is left as it is, for `review`."""
    converted = dict(results)
    for name in ("output", "d_x"):
        value = converted.get(name)
        if isinstance(value, np.ndarray) and value.ndim == 3:
            if name == "output" and value.shape[:2] == mask.shape[:2]:
                value = np.where(mask, value, value.dtype.type(0))
            unbatched = problem.x.ndim == 2
            swapped = value.swapaxes(0, 1) if problem.net.batch_first else value
            converted[name] = value[:, 0] if unbatched else swapped
    if problem.x.ndim == 2:
        for name in (*OUTPUTS[1:], *(f"d_{s}" for s in STATES)):
            value = converted.get(name)
            if isinstance(value, np.ndarray) and value.ndim == 3:
                converted[name] = value[:, 0]
    return converted | _tied_gradients(problem, converted)


def _tied_gradients(problem: Problem, results: Mapping[str, Any]) -> dict[str, Any]:
    """The gradients of parameters, those of one array under several names added."""
    names: dict[int, list[str]] = {}
    for name, p in problem.params.items():
        names.setdefault(id(p), []).append(f"d_{name}")
    tied = [group for group in names.values() if len(group) > 1]
    return {
        name: sum(results[other] for other in group)
        for group in tied
        if all(isinstance(results.get(name), np.ndarray) for name in group)
        for name in group
    }


def review(
    implementation: Implementation, answer: Answer, truth: Mapping[str, np.ndarray], dtype: str
) -> Answer:
    """The answer with what is wrong with each tensor, and the tensors that are not judged.

    A tensor with an error, which is missing, unknown, or has another dtype or shape, has no result.
    """
    lower = implementation.product_precision(dtype)  # autocast returns what it computed in
    allowed = {_numpy_dtype(dtype), _numpy_dtype(lower)}
    results: dict[str, np.ndarray] = {}
    errors = dict(answer.errors)
    not_returned = []
    for name, true in truth.items():
        value = answer.results.get(name)
        lacks = name.startswith(implementation.not_returned)
        if lacks or (value is None and not _is_promised(implementation, answer, name)):
            not_returned.append(name)
            continue
        if value is None:
            errors[name] = f"{name} is missing"
        elif type(value) is not np.ndarray:
            errors[name] = f"{name} is a {type(value).__name__}, expected an array"
        elif value.shape != true.shape:
            errors[name] = f"{name} has shape {list(value.shape)}, expected {list(true.shape)}"
        elif value.dtype not in allowed:
            errors.setdefault(name, f"{name} came as {value.dtype}, expected {dtype}")
        if name not in errors:
            results[name] = answer.results[name]
    for name in answer.results:
        if name not in truth and not _has_no_true_value(name):
            errors[name] = f"{name} is not one of the tensors {', '.join(truth)}"
    errors = {name: error for name, error in errors.items() if name not in not_returned}
    return answer._replace(results=results, errors=errors, not_returned=tuple(not_returned))


def _numpy_dtype(precision: str) -> np.dtype:
    """The dtype of arrays that hold numbers of this precision."""
    return np.dtype({"bfloat16": "float32", "tf32": "float32"}.get(precision, precision))


def _has_no_true_value(name: str) -> bool:
    """Whether it may be returned where the case has none: the gradient of a state not given."""
    return name in ("d_h_0", "d_c_0")


def _is_promised(implementation: Implementation, answer: Answer, name: str) -> bool:
    """Whether a tensor must be there. `run` returns what it can, `layer` and `net` all values and,
    if there is something that differentiates, all gradients."""
    if implementation.run is not None:
        return name == "output"
    return not name.startswith("d_") or implementation.engine != "none"
