"""Faults of precision: operands rounded to fewer bits than their dtype has."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import linear

from torch_impl.execution.calls import Call, Forward, Result
from torch_impl.nets.modules import NetOptions, Params, Tensors, manual_step

from .fault import fault
from .inject import (
    Function,
    Tensor,
    change_gradient,
    change_parameters,
    change_states,
    layer_of,
    replace_functions,
    round_to_bits,
    run_steps,
)

TF32, HALF, BFLOAT16, SINGLE = 10, 10, 7, 23  # bits after the leading one
FLOAT32_ONLY = ("float32",)


def _linear(forward_bits: int, backward_bits: int) -> Function:
    """x Wᵀ + b, its operands rounded in the forward and backward pass; 0 bits: not rounded."""

    class Rounded(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
            ctx.operands = x.detach(), weight.detach()
            return _round(x, forward_bits) @ _round(weight, forward_bits).T

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            x, weight = (_round(operand, backward_bits) for operand in ctx.operands)
            grad = _round(grads[0], backward_bits)
            return grad @ weight, grad.T @ x

    apply: Callable[..., Tensor] = Rounded.apply

    def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        y = apply(x, weight)
        return y if bias is None else y + bias

    return product


def _round(value: Tensor, bits: int) -> Tensor:
    return round_to_bits(value, bits) if bits else value


@fault(
    "R",
    "float32 is computed in TF32",
    "pytorch/pytorch#40737, pytorch/pytorch#193949",
    dtypes=FLOAT32_ONLY,
)
def tf32_in_float32(call: Call, forward: Forward) -> Result:
    with replace_functions({linear: _linear(TF32, TF32)}):
        return run_steps(call)


@fault("R", "TF32 in the forward products only", dtypes=FLOAT32_ONLY)
def tf32_forward(call: Call, forward: Forward) -> Result:
    with replace_functions({linear: _linear(TF32, 0)}):
        return run_steps(call)


@fault("R", "TF32 in the backward products only", dtypes=FLOAT32_ONLY)
def tf32_backward(call: Call, forward: Forward) -> Result:
    with replace_functions({linear: _linear(0, TF32)}):
        return run_steps(call)


@fault("R", "products are computed in bfloat16, as if autocast were left on")
def bfloat16_products(call: Call, forward: Forward) -> Result:
    with replace_functions({linear: _linear(BFLOAT16, BFLOAT16)}):
        return run_steps(call)


@fault("R", "float64 is computed in float32", dtypes=("float64",))
def float32_in_float64(call: Call, forward: Forward) -> Result:
    low = change_states(change_parameters(call, lambda n, p: p.float()), lambda s: s.float())
    low = low._replace(x=call.x.float())
    output, final = forward(low)
    return output.double(), [f.double() for f in final]


@fault("R", "float64 products are computed in float32", dtypes=("float64",))
def float32_products_in_float64(call: Call, forward: Forward) -> Result:
    with replace_functions({linear: _linear(SINGLE, SINGLE)}):
        return run_steps(call)


@fault("R", "the input is rounded to float32", dtypes=("float64",))
def input_through_float32(call: Call, forward: Forward) -> Result:
    return forward(call._replace(x=call.x.float().double()))


@fault("R", "the output is rounded to float32", dtypes=("float64",))
def output_through_float32(call: Call, forward: Forward) -> Result:
    output, final = forward(call)
    return output.float().double(), final


@fault("R", "parameters are stored in bfloat16")
def weights_in_bfloat16(call: Call, forward: Forward) -> Result:
    return forward(change_parameters(call, lambda n, p: round_to_bits(p, BFLOAT16)))


@fault("R", "the last layer's parameters are stored in half precision")
def last_layer_in_half_precision(call: Call, forward: Forward) -> Result:
    last = call.net.num_layers - 1
    return forward(
        change_parameters(call, lambda n, p: round_to_bits(p, HALF) if layer_of(n) == last else p)
    )


@fault(
    "R",
    "the reverse direction's parameters are stored in half precision",
    applies_to=lambda c: c.bidirectional,
)
def reverse_in_half_precision(call: Call, forward: Forward) -> Result:
    return forward(
        change_parameters(
            call, lambda n, p: round_to_bits(p, HALF) if n.endswith("_reverse") else p
        )
    )


@fault("R", "biases are stored in half precision", applies_to=lambda c: c.bias)
def biases_in_half_precision(call: Call, forward: Forward) -> Result:
    return forward(
        change_parameters(call, lambda n, p: round_to_bits(p, HALF) if n.startswith("bias") else p)
    )


@fault("R", "the projection is rounded to TF32", cells=("LSTM",), applies_to=lambda c: c.P > 0)
def projection_in_tf32(call: Call, forward: Forward) -> Result:
    return forward(
        change_parameters(call, lambda n, p: round_to_bits(p, TF32) if "weight_hr" in n else p)
    )


@fault("R", "the state is stored in half precision between steps", applies_to=lambda c: c.T > 1)
def state_stored_in_half_precision(call: Call, forward: Forward) -> Result:
    def step(net: NetOptions, params: Params, suffix: str, x: Tensor, state: Tensors) -> Tensors:
        return manual_step(net, params, suffix, x, [round_to_bits(s, HALF) for s in state])

    return run_steps(call, step)


@fault("R", "the cell state is stored in half precision", cells=("LSTM",))
def c_stored_in_half_precision(call: Call, forward: Forward) -> Result:
    def step(net: NetOptions, params: Params, suffix: str, x: Tensor, state: Tensors) -> Tensors:
        return manual_step(net, params, suffix, x, [state[0], round_to_bits(state[1], HALF)])

    return run_steps(call, step)


@fault("R", "the initial state is rounded to bfloat16", applies_to=lambda c: c.state)
def initial_state_in_bfloat16(call: Call, forward: Forward) -> Result:
    return forward(change_states(call, lambda s: round_to_bits(s, BFLOAT16)))


@fault("R", "parameter gradients are rounded to half precision")
def gradients_in_half_precision(call: Call, forward: Forward) -> Result:
    return forward(
        change_parameters(call, lambda _, p: change_gradient(p, lambda g: round_to_bits(g, HALF)))
    )


@fault("R", "the nonlinearities are rounded to 12 bits, as from a table")
def nonlinearities_of_twelve_bits(call: Call, forward: Forward) -> Result:
    tables = {f: _table(f) for f in (torch.sigmoid, torch.tanh, torch.relu)}
    with replace_functions(tables):
        return run_steps(call)


def _table(function: Function) -> Function:
    """The function as a table of 12 bits would return it."""
    return lambda a: round_to_bits(function(a), 12)
