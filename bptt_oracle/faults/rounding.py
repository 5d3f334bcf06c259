"""Mistakes of precision: operands rounded to fewer bits than the type has."""

from typing import Any

import torch
from torch.nn.functional import linear

from torch_impl.execution.calls import Call, Forward, Result
from torch_impl.nets.modules import manual_step

from .fault import fault
from .inject import Tensor, backward, by_step, layer_of, replaced, rounded, states, weights

TF32, HALF, BFLOAT16, SINGLE = 10, 10, 7, 23  # bits after the leading one
SINGLE_ONLY = ("float32",)


def _linear(forward: int, back: int) -> Any:
    """x Wᵀ + b with operands of so many bits forward and backward; 0 leaves them whole."""

    class Rounded(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
            ctx.operands = x.detach(), weight.detach()
            return _round(x, forward) @ _round(weight, forward).T

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            x, weight = (_round(operand, back) for operand in ctx.operands)
            grad = _round(grads[0], back)
            return grad @ weight, grad.T @ x

    def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        y: Tensor = Rounded.apply(x, weight)
        return y if bias is None else y + bias

    return product


def _round(value: Tensor, bits: int) -> Tensor:
    return rounded(value, bits) if bits else value


@fault(
    "R",
    "float32 is computed in TF32",
    "pytorch/pytorch#40737, pytorch/pytorch#193949",
    dtypes=SINGLE_ONLY,
)
def tf32_in_float32(call: Call, way: Forward) -> Result:
    with replaced({linear: _linear(TF32, TF32)}):
        return by_step(call)


@fault("R", "TF32 in the forward products alone", dtypes=SINGLE_ONLY)
def tf32_forward(call: Call, way: Forward) -> Result:
    with replaced({linear: _linear(TF32, 0)}):
        return by_step(call)


@fault("R", "TF32 in the backward products alone", dtypes=SINGLE_ONLY)
def tf32_backward(call: Call, way: Forward) -> Result:
    with replaced({linear: _linear(0, TF32)}):
        return by_step(call)


@fault("R", "products in bfloat16, autocast left on")
def bfloat16_products(call: Call, way: Forward) -> Result:
    with replaced({linear: _linear(BFLOAT16, BFLOAT16)}):
        return by_step(call)


@fault("R", "float64 is computed in float32", dtypes=("float64",))
def float32_in_float64(call: Call, way: Forward) -> Result:
    low = weights(call, lambda n, p: p.float())
    low = low._replace(x=call.x.float(), state=call.state and [s.float() for s in call.state])
    output, final = way(low)
    return output.double(), [f.double() for f in final]


@fault("R", "float64 products in float32", dtypes=("float64",))
def float32_products_in_float64(call: Call, way: Forward) -> Result:
    with replaced({linear: _linear(SINGLE, SINGLE)}):
        return by_step(call)


@fault("R", "the input passes through float32", dtypes=("float64",))
def input_through_float32(call: Call, way: Forward) -> Result:
    return way(call._replace(x=call.x.float().double()))


@fault("R", "the output passes through float32", dtypes=("float64",))
def output_through_float32(call: Call, way: Forward) -> Result:
    output, final = way(call)
    return output.float().double(), final


@fault("R", "weights are kept in bfloat16")
def weights_in_bfloat16(call: Call, way: Forward) -> Result:
    return way(weights(call, lambda n, p: rounded(p, BFLOAT16)))


@fault("R", "the last layer's weights are kept in half precision")
def last_layer_in_half_precision(call: Call, way: Forward) -> Result:
    last = call.net.num_layers - 1
    return way(weights(call, lambda n, p: rounded(p, HALF) if layer_of(n) == last else p))


@fault("R", "the reverse direction runs in half precision", where=lambda c: c.bidirectional)
def reverse_in_half_precision(call: Call, way: Forward) -> Result:
    return way(weights(call, lambda n, p: rounded(p, HALF) if n.endswith("_reverse") else p))


@fault("R", "biases are kept in half precision", where=lambda c: c.bias)
def biases_in_half_precision(call: Call, way: Forward) -> Result:
    return way(weights(call, lambda n, p: rounded(p, HALF) if n.startswith("bias") else p))


@fault("R", "the projection runs in TF32", cells=("LSTM",), where=lambda c: c.P > 0)
def projection_in_tf32(call: Call, way: Forward) -> Result:
    return way(weights(call, lambda n, p: rounded(p, TF32) if "weight_hr" in n else p))


@fault("R", "the state is stored in half precision between steps", where=lambda c: c.T > 1)
def state_stored_in_half_precision(call: Call, way: Forward) -> Result:
    def step(net: Any, params: Any, suffix: str, x: Tensor, state: Any) -> Any:
        return manual_step(net, params, suffix, x, [rounded(s, HALF) for s in state])

    return by_step(call, step)


@fault("R", "the cell state is stored in half precision", cells=("LSTM",))
def c_stored_in_half_precision(call: Call, way: Forward) -> Result:
    def step(net: Any, params: Any, suffix: str, x: Tensor, state: Any) -> Any:
        return manual_step(net, params, suffix, x, [state[0], rounded(state[1], HALF)])

    return by_step(call, step)


@fault("R", "the initial state is rounded to bfloat16", where=lambda c: c.state)
def initial_state_in_bfloat16(call: Call, way: Forward) -> Result:
    return way(states(call, lambda s: rounded(s, BFLOAT16)))


@fault("R", "weight gradients are returned in half precision")
def gradients_in_half_precision(call: Call, way: Forward) -> Result:
    return way(weights(call, lambda n, p: backward(p, lambda g: rounded(g, HALF))))


@fault("R", "the nonlinearities are looked up in a table of 12 bits")
def nonlinearities_of_twelve_bits(call: Call, way: Forward) -> Result:
    tables = {f: _table(f) for f in (torch.sigmoid, torch.tanh, torch.relu)}
    with replaced(tables):
        return by_step(call)


def _table(function: Any) -> Any:
    return lambda a: rounded(function(a), 12)
