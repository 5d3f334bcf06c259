"""Dynamically quantised nets, judged as what they claim to be: values only.

float16    weights rounded to float16; the products are those of float32
int8       weights on 255 steps; torch also rounds what each product takes, x and h, to 127 steps
           between their extremes. Judged is the first step of the first layer, with x and h on
           steps, so that the truth is that of the net of the dequantised weights.

Torch quantises a matrix to q s with s = max |w| / 127.5 and q = round(w / s), in float32.

Source: torch.ao.quantization, MinMaxObserver with qscheme per_tensor_symmetric.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..execution.calls import Call, Prepared
from ..execution.problem import Problem
from .exported import evaluate_values
from .road import call_net, module_of, require

HALF_OF_STEPS = 127.5  # of a weight: (127 + 128) / 2
ACTIVATION_STEPS = 64  # a number on steps is k / 64, −64 ≤ k ≤ 63: 127 steps in all


def half_weights(call: Call) -> Prepared:
    """quantize_dynamic with weights in float16."""
    return _quantised(call, torch.float16)


def int8_weights(call: Call) -> Prepared:
    """quantize_dynamic with weights and activations in 8 bits.

    The call holds dequantised weights; the module gets weights that torch quantises to those.
    """
    before = {id(p): p for p in call.params.values()}
    for key, p in before.items():
        if p.dim() == 2:
            before[key] = torch.nn.Parameter(_before_quantising(p.detach()))
    params = {name: before[id(p)] for name, p in call.params.items()}
    return _quantised(call._replace(params=params), torch.qint8)


def _before_quantising(weight: torch.Tensor) -> torch.Tensor:
    """A weight whose dequantised form is the one given, q s: the largest was 127.5 s before it
    became 127 s."""
    largest = weight.abs().max()
    return torch.where(weight == largest, largest / 127 * HALF_OF_STEPS, weight)


def _quantised(call: Call, dtype: torch.dtype) -> Prepared:
    from torch.ao.quantization import quantize_dynamic

    module = module_of(call)
    net: Any = quantize_dynamic(torch.nn.Sequential(module), {type(module)}, dtype=dtype)[0]
    require("quantized.dynamic" in type(net).__module__, "the net should be quantised, but is not")
    return Prepared(lambda call: call_net(net, call), call, evaluate_values)


def _with_weights(problem: Problem, change: Any) -> Problem:
    """The problem with change(weight) for each array of a matrix; tied ones stay tied."""
    changed = {id(p): change(p) if p.ndim == 2 else p for p in problem.params.values()}
    return problem._replace(params={name: changed[id(p)] for name, p in problem.params.items()})


def round_to_half(problem: Problem) -> Problem:
    """The problem with its matrices rounded to float16, and with biases."""
    return _with_weights(
        with_biases(problem), lambda p: p.astype(np.float32).astype(np.float16).astype(float)
    )


def dequantised(weight: np.ndarray) -> np.ndarray:
    """The weight [...] that torch computes with in place of this one, in float64; of its negative
    if that has the largest element.

    The largest element lies half-way between two steps, of which only the lower exists if it is
    positive; for a negative one the rounding of s would decide.
    """
    if not weight.any():
        return weight
    stored = (weight if weight.max() >= -weight.min() else -weight).astype(np.float32)
    scale = np.float32(np.abs(stored).max()) / np.float32(HALF_OF_STEPS)
    steps = np.rint(stored * (np.float32(1) / scale))
    value: np.ndarray = np.clip(steps, -128, 127).astype(np.float64) * np.float64(scale)
    return value


def round_to_steps(problem: Problem) -> Problem:
    """The first step of the first layer of the problem, with x and h_0 on steps, and dequantised
    weights."""
    if problem.net.dropout:  # such a problem is excluded
        return problem
    problem = with_biases(problem)
    net, D = problem.net, problem.net.directions
    time = 1 if net.batch_first and problem.x.ndim == 3 else 0

    def first(value: np.ndarray | None) -> Any:
        return None if value is None else value.take([0], time)

    def of_layer(value: np.ndarray | None) -> Any:
        return None if value is None else value[:D]

    state = problem.state
    if state is not None:
        h, *c = [of_layer(s) for s in state]
        state = (np.stack([_on_steps(s) for s in h]), *c)
    one_step = problem._replace(
        net=replace(net, num_layers=1),
        params={name: p for name, p in problem.params.items() if "_l0" in name},
        x=_on_steps(first(problem.x)),
        lengths=None,
        state=state,
        d_output=first(problem.d_output),
        d_state=tuple(map(of_layer, problem.d_state)),
    )
    return _with_weights(one_step, dequantised)


def with_biases(problem: Problem) -> Problem:
    """The problem with biases of 0 if it has none: torch quantises nets with biases only."""
    if problem.net.bias:
        return problem
    net = replace(problem.net, bias=True)
    params = {
        name: problem.params.get(name, np.zeros(shape))
        for name, shape in net.parameter_shapes().items()
    }
    return problem._replace(net=net, params=params)


def _on_steps(value: np.ndarray) -> np.ndarray:
    """Numbers near the value that torch's rounding leaves as they are; both extremes occur."""
    largest = np.abs(value).max(initial=0) or 1.0
    steps = np.clip(np.rint(value / largest * ACTIVATION_STEPS), -64, 63)
    steps.flat[:1], steps.flat[1:2] = -64, 63
    stepped: np.ndarray = steps / ACTIVATION_STEPS
    return stepped


def not_quantised(problem: Problem, dtype: str) -> str:
    """Why torch quantises no net of this problem."""
    if problem.net.mode.startswith("RNN"):
        return "torch quantises LSTM and GRU only"
    if problem.net.proj_size:
        return "torch quantises no net with a projection"
    if problem.x.ndim == 2:
        return "a quantised net takes batches only"
    if problem.net.dropout:
        return "a quantised net draws no masks in training"
    if torch.backends.quantized.engine not in ("x86", "fbgemm"):
        return "only FBGEMM rounds to 127 steps, and this build of torch runs without it"
    return ""


def not_one_step(problem: Problem, dtype: str) -> str:
    """Why a net with 8 bits has no exact truth for this problem."""
    rows = problem.x.shape[0 if problem.net.batch_first else 1]
    if rows * min(problem.net.input_size, problem.net.hidden_size) < 2:
        return "one number has no two extremes"
    return not_quantised(problem, dtype)
