"""Mistakes planted in the answers of an implementation: arrays changed after they were computed.

Each is a function of the answer's arrays by name, all of which agree with the truth, and of the
unit roundoff of the tested dtype. It returns those that it changes, or {} where it would change
nothing. They are the mistakes that published tests of kernels let pass, and others that leave the
shape of an answer as it is.
"""

from collections.abc import Callable, Mapping

import numpy as np

from torch_impl.execution.precision import UNIT_ROUNDOFF

Arrays = dict[str, np.ndarray]
AnswerFault = Callable[[Mapping[str, np.ndarray], float], Arrays]

SMALLEST = 256  # units of roundoff, of the largest element of a tensor
ROUNDING = {"float32": 2.0**16, "float64": 2.0**29}  # to bfloat16 and to float32


def _gradients(results: Mapping[str, np.ndarray]) -> Arrays:
    return {name: value for name, value in results.items() if name.startswith("d_")}


def every_gradient_doubled(results: Mapping[str, np.ndarray], unit: float) -> Arrays:
    """All gradients twice as large, as after two backward passes without zero_grad."""
    return {name: 2 * value for name, value in _gradients(results).items()}


def every_gradient_zeroed(results: Mapping[str, np.ndarray], unit: float) -> Arrays:
    """No gradient arrives."""
    return {name: 0 * value for name, value in _gradients(results).items()}


def every_gradient_negated(results: Mapping[str, np.ndarray], unit: float) -> Arrays:
    """The loss is maximised."""
    return {name: -value for name, value in _gradients(results).items()}


def gradient_of_h_0_dropped(results: Mapping[str, np.ndarray], unit: float) -> Arrays:
    """No gradient for the initial h."""
    return {name: 0 * value for name, value in results.items() if name == "d_h_0"}


def gradient_of_c_0_dropped(results: Mapping[str, np.ndarray], unit: float) -> Arrays:
    """No gradient for the initial c."""
    return {name: 0 * value for name, value in results.items() if name == "d_c_0"}


def gradient_of_a_bias_missing(results: Mapping[str, np.ndarray], unit: float) -> Arrays:
    """No gradient for bias_hh."""
    return {name: 0 * value for name, value in results.items() if "bias_hh" in name}


def gradient_of_x_in_one_step_missing(results: Mapping[str, np.ndarray], unit: float) -> Arrays:
    """No gradient for the first step of x."""
    return _with(results, "d_x", 0, lambda step: 0 * step)


def first_unit_of_weights_negated(results: Mapping[str, np.ndarray], unit: float) -> Arrays:
    """One row of the gradient of weight_hh with the wrong sign."""
    names = [name for name in results if name.startswith("d_weight_hh")]
    return _with(results, names[0], 0, lambda row: -row) if names else {}


def one_element_off(results: Mapping[str, np.ndarray], unit: float) -> Arrays:
    """The largest element of one gradient off by a thousandth, in float64 by a millionth, but by
    SMALLEST units at least; of the output where there is no gradient."""
    names = [name for name in results if name.startswith("d_weight_ih")] or ["output"]
    value = results[names[0]].copy()
    largest = np.unravel_index(int(np.abs(value).argmax()), value.shape)
    value[largest] *= 1 + max(1e-6 if value.dtype == np.float64 else 1e-3, SMALLEST * unit)
    return {names[0]: value}


def last_step_zeroed(results: Mapping[str, np.ndarray], unit: float) -> Arrays:
    """The output of the last step is missing, as after a loop that ends one step early."""
    return _with(results, "output", -1, lambda step: 0 * step)


def output_one_step_late(results: Mapping[str, np.ndarray], unit: float) -> Arrays:
    """Every step has the output of the step before it."""
    output = results["output"]
    return {"output": np.roll(output, 1, axis=0)} if len(output) > 1 else {}


def h_n_zeroed(results: Mapping[str, np.ndarray], unit: float) -> Arrays:
    """The final state is not written."""
    return {name: 0 * value for name, value in results.items() if name == "h_n"}


def c_n_is_h_n(results: Mapping[str, np.ndarray], unit: float) -> Arrays:
    """c_n holds h_n."""
    h, c = results.get("h_n"), results.get("c_n")
    return {"c_n": h} if h is not None and c is not None and h.shape == c.shape else {}


def output_in_a_lower_type(results: Mapping[str, np.ndarray], unit: float) -> Arrays:
    """The output has the precision of bfloat16, in float64 that of float32."""
    output = results["output"]
    if str(output.dtype) not in ROUNDING:
        return {}
    shifted = output * output.dtype.type(ROUNDING[str(output.dtype)] + 1)
    return {"output": shifted - (shifted - output)}


def _with(
    results: Mapping[str, np.ndarray],
    name: str,
    index: int,
    change: Callable[[np.ndarray], np.ndarray],
) -> Arrays:
    """One tensor with one slice of it changed."""
    if name not in results:
        return {}
    value = results[name].copy()
    value[index] = change(value[index])
    return {name: value}


ANSWER_FAULTS: dict[str, AnswerFault] = {
    function.__name__: function
    for function in (
        every_gradient_doubled,
        every_gradient_zeroed,
        every_gradient_negated,
        one_element_off,
        last_step_zeroed,
        h_n_zeroed,
        output_in_a_lower_type,
        gradient_of_h_0_dropped,
        gradient_of_c_0_dropped,
        gradient_of_a_bias_missing,
        gradient_of_x_in_one_step_missing,
        first_unit_of_weights_negated,
        output_one_step_late,
        c_n_is_h_n,
    )
}


def plant_in_answer(name: str, results: Mapping[str, np.ndarray], dtype: str) -> Arrays:
    """All arrays of an answer with a fault planted; {} where no tensor would change by SMALLEST
    units of roundoff, which rounding might explain."""
    unit = UNIT_ROUNDOFF[dtype]
    changed = {
        tensor: value
        for tensor, value in ANSWER_FAULTS[name](results, unit).items()
        if not np.array_equal(value, results[tensor])
    }
    large = [_shows(value, results[tensor], unit) for tensor, value in changed.items()]
    return {**results, **changed} if any(large) else {}


def _shows(wrong: np.ndarray, right: np.ndarray, unit: float) -> bool:
    """Whether two arrays differ by SMALLEST units of roundoff of the largest element."""
    wide = right.astype(np.float64)
    difference = np.abs(wrong.astype(np.float64) - wide).max(initial=0)
    return bool(difference >= SMALLEST * unit * np.abs(wide).max(initial=0))
