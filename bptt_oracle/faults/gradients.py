"""Mistakes with the gradient alone: whatever comes out forward is right."""

from collections.abc import Callable
from typing import Any

import torch

from torch_impl.execution.calls import Call, Forward, Result, axes
from torch_impl.nets.modules import manual_step

from .fault import fault
from .inject import (
    Tensor,
    alive,
    backward,
    by_step,
    layer_by_layer,
    layer_of,
    replaced,
    states,
    stepped,
    weights,
)


def _bent(call: Call, which: str, change: Callable[[Tensor], Tensor]) -> Call:
    """The call with the gradients of parameters whose name holds `which` changed."""
    return weights(call, lambda n, p: backward(p, change) if which in n else p)


def _final(way: Forward, call: Call, index: int, change: Callable[[Tensor], Tensor]) -> Result:
    """The answer with the gradient that arrives at one final state changed."""
    output, final = way(call)
    return output, [backward(f, change) if k == index else f for k, f in enumerate(final)]


def _contiguously(grad: Tensor) -> Tensor:
    """The memory of a gradient read as though it were contiguous."""
    return grad.as_strided(grad.shape, torch.empty(grad.shape).stride())


@fault(
    "G",
    "the gradient arriving at h_n is read as if it were contiguous",
    "pytorch/pytorch#619, pytorch/pytorch#620",
    where=lambda c: c.strided and "h_n" in c.cotangents,
)
def d_h_n_read_contiguously(call: Call, way: Forward) -> Result:
    return _final(way, call, 0, _contiguously)


@fault(
    "G",
    "the gradient arriving at c_n is read as if it were contiguous",
    cells=("LSTM",),
    where=lambda c: c.strided and "c_n" in c.cotangents,
)
def d_c_n_read_contiguously(call: Call, way: Forward) -> Result:
    return _final(way, call, 1, _contiguously)


@fault(
    "G",
    "the gradient arriving at the output is read as if it were contiguous",
    where=lambda c: c.strided and "output" in c.cotangents and not c.lengths,
)
def d_output_read_contiguously(call: Call, way: Forward) -> Result:
    output, final = way(call)
    return backward(output, _contiguously), final


@fault("G", "the gradient arriving at h_n is ignored", where=lambda c: "h_n" in c.cotangents)
def d_h_n_ignored(call: Call, way: Forward) -> Result:
    return _final(way, call, 0, torch.zeros_like)


@fault(
    "G",
    "the gradient arriving at c_n is ignored",
    cells=("LSTM",),
    where=lambda c: "c_n" in c.cotangents,
)
def d_c_n_ignored(call: Call, way: Forward) -> Result:
    return _final(way, call, 1, torch.zeros_like)


@fault(
    "G",
    "an output nobody uses has a gradient of ones",
    where=lambda c: "h_n" not in c.cotangents,
)
def undefined_gradient_is_ones(call: Call, way: Forward) -> Result:
    class Joined(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, output: Tensor, h_n: Tensor) -> tuple[Tensor, Tensor]:
            ctx.set_materialize_grads(False)
            ctx.like = h_n.detach()
            return output.view_as(output), h_n.view_as(h_n)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            d_output, d_h_n = grads
            return d_output, torch.ones_like(ctx.like) if d_h_n is None else d_h_n

    output, (h_n, *rest) = way(call)
    if rest:  # the LSTM may be asked for c_n alone, and the two must be used together
        rest = [rest[0] + 0 * output.sum()]
    output, h_n = Joined.apply(output, h_n)
    return output, [h_n, *rest]


@fault(
    "G",
    "gradients of the biases are as many times too large as there are steps",
    "apache/mxnet#17086",
    where=lambda c: c.bias and c.T > 1,
)
def bias_gradients_times_steps(call: Call, way: Forward) -> Result:
    T = call.x.shape[axes(call)[0]]
    return way(_bent(call, "bias", lambda g: g * T))


@fault(
    "G",
    "biases of layers above the first get no gradient",
    "apache/mxnet#17818",
    where=lambda c: c.bias and c.layers > 1,
)
def bias_gradients_of_higher_layers_zero(call: Call, way: Forward) -> Result:
    return way(weights(call, lambda n, p: p.detach() if "bias" in n and layer_of(n) else p))


@fault("G", "bias_hh gets the gradient of bias_ih", cells=("GRU",), where=lambda c: c.bias)
def bias_hh_gradient_of_bias_ih(call: Call, way: Forward) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        if name.startswith("bias_hh"):
            return p.detach()
        if name.startswith("bias_ih"):
            other = call.params[name.replace("_ih_", "_hh_")]
            return p + (other - other.detach())
        return p

    return way(weights(call, change))


@fault(
    "G",
    "weight gradients are wrong where the hidden size is 1",
    "uxlfoundation/oneDNN#5913",
    where=lambda c: c.H == 1,
)
def weight_gradients_at_hidden_size_1(call: Call, way: Forward) -> Result:
    return way(_bent(call, "weight_ih", lambda g: g.T.reshape(-1).roll(1).reshape(g.shape)))


@fault(
    "G",
    "weight_ih of middle layers gets the gradient of another input",
    "apache/mxnet#17898",
    where=lambda c: c.layers > 2,
)
def middle_layers_weight_gradient(call: Call, way: Forward) -> Result:
    return way(_bent(call, "weight_ih_l1", lambda g: g.roll(1, -1)))


@fault(
    "G",
    "the gradient of the input lacks the reverse direction's part, overwritten in place",
    "apache/mxnet#18203",
    where=lambda c: c.bidirectional and c.layers == 1,
)
def reverse_part_of_d_x_lost(call: Call, way: Forward) -> Result:
    output, final = way(call)
    cut, last = way(call._replace(x=call.x.detach()))
    halves = output.chunk(2, -1)[0], cut.chunk(2, -1)[1]
    return torch.cat(halves, -1), [
        torch.cat([f[:1], r[1:]]) for f, r in zip(final, last, strict=True)
    ]


@fault(
    "G",
    "backward between layers ignores the dropout mask",
    "pytorch/pytorch#190056",
    where=lambda c: c.dropout > 0,
)
def dropout_mask_ignored_backward(call: Call, way: Forward) -> Result:
    return layer_by_layer(call, lambda y, mask: y + (y * mask - y).detach())


@fault("G", "no gradient passes from a layer to the one below", where=lambda c: c.layers > 1)
def gradient_stops_between_layers(call: Call, way: Forward) -> Result:
    return layer_by_layer(call, lambda y, mask: y.detach() * mask)


@fault(
    "G",
    "the gradient of the initial state is zero",
    where=lambda c: c.state,
)
def d_state_zero(call: Call, way: Forward) -> Result:
    return way(states(call, lambda s: s.detach()))


@fault("G", "the gradient of c_0 is zero", cells=("LSTM",), where=lambda c: c.state)
def d_c_0_zero(call: Call, way: Forward) -> Result:
    h, c = call.state or []
    return way(call._replace(state=[h, c.detach()]))


@fault(
    "G",
    "gradients of the initial states come in the order of the backward pass",
    where=lambda c: c.state and c.layers * (1 + c.bidirectional) > 1,
)
def d_state_in_reverse_order(call: Call, way: Forward) -> Result:
    return way(states(call, lambda s: backward(s, lambda g: g.flip(0))))


@fault("G", "the gradient of the input is laid out time first", where=lambda c: c.layout == "batch")
def d_x_time_major(call: Call, way: Forward) -> Result:
    x = backward(call.x, lambda g: g.transpose(0, 1).reshape(g.shape))
    return way(call._replace(x=x))


@fault("G", "the gradient of the input runs backwards in time", where=lambda c: c.T > 1)
def d_x_backwards_in_time(call: Call, way: Forward) -> Result:
    return way(call._replace(x=backward(call.x, lambda g: g.flip(axes(call)[0]))))


@fault("G", "padding has a gradient", where=lambda c: len(set(c.lengths)) > 1)
def d_x_of_padding(call: Call, way: Forward) -> Result:
    real = alive(call)
    x = backward(call.x, lambda g: torch.where(real, g, torch.full_like(g, 1e-3)))
    return way(call._replace(x=x))


@fault("G", "parameter gradients are divided by the batch size", where=lambda c: c.B > 1)
def gradients_averaged_over_the_batch(call: Call, way: Forward) -> Result:
    batch = axes(call)[1] or 0
    return way(_bent(call, "", lambda g: g / call.x.shape[batch]))


@fault("G", "parameter gradients are clipped to ±1/8")
def gradients_clipped(call: Call, way: Forward) -> Result:
    return way(_bent(call, "", lambda g: g.clamp(-0.125, 0.125)))


@fault("G", "one element of the gradient of weight_hh is off by a thousandth")
def one_element_of_d_weight_hh(call: Call, way: Forward) -> Result:
    def change(grad: Tensor) -> Tensor:
        off = torch.zeros_like(grad)
        off[-1, -1] = 1e-3 * grad.abs().max()
        return grad + off

    return way(_bent(call, "weight_hh_l0", change))


@fault("G", "the gradient is cut after two steps back in time", where=lambda c: c.T > 2)
def gradient_truncated_in_time(call: Call, way: Forward) -> Result:
    def make(suffix: str) -> Callable[..., Any]:
        done: list[int] = []

        def step(net: Any, params: Any, own: str, x: Tensor, state: Any) -> Any:
            cut = len(done) % 2 == 0 and bool(done)
            done.append(1)
            return manual_step(net, params, own, x, [s.detach() for s in state] if cut else state)

        return step

    return stepped(call, make)


@fault("G", "the cell state carries no gradient from step to step", cells=("LSTM",))
def c_carries_no_gradient(call: Call, way: Forward) -> Result:
    def step(net: Any, params: Any, suffix: str, x: Tensor, state: Any) -> Any:
        return manual_step(net, params, suffix, x, [state[0], state[1].detach()])

    return by_step(call, step)


@fault("G", "weight_hh gets no gradient from the first step", where=lambda c: c.state)
def first_step_missing_in_d_weight_hh(call: Call, way: Forward) -> Result:
    def make(suffix: str) -> Callable[..., Any]:
        done: list[int] = []

        def step(net: Any, params: Any, own: str, x: Tensor, state: Any) -> Any:
            if not done:
                name = f"weight_hh{own}"
                params = params | {name: params[name].detach()}
            done.append(1)
            return manual_step(net, params, own, x, state)

        return step

    return stepped(call, make)


@fault("G", "only the last layer's parameters get gradients", where=lambda c: c.layers > 1)
def lower_layers_get_no_gradient(call: Call, way: Forward) -> Result:
    last = call.net.num_layers - 1
    return way(weights(call, lambda n, p: p if layer_of(n) == last else p.detach()))


def _slope(forward: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor]) -> Any:
    """A function with a derivative of its own."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Tensor) -> Tensor:
            ctx.a = a.detach()
            return forward(a)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return grads[0] * slope(ctx.a)

    return Function.apply


def _with(call: Call, others: dict[Any, Any]) -> Result:
    with replaced(others):
        return by_step(call)


@fault("G", "the derivative of sigmoid lacks the factor 1 − σ", cells=("GRU", "LSTM"))
def sigmoid_derivative(call: Call, way: Forward) -> Result:
    return _with(call, {torch.sigmoid: _slope(torch.sigmoid, torch.sigmoid)})


@fault(
    "G",
    "the derivative of tanh is 1 − a² of its argument",
    cells=("RNN_TANH", "GRU", "LSTM"),
)
def tanh_derivative(call: Call, way: Forward) -> Result:
    return _with(call, {torch.tanh: _slope(torch.tanh, lambda a: 1 - a * a)})


@fault("G", "the derivative of relu is 1 everywhere", cells=("RNN_RELU",))
def relu_derivative(call: Call, way: Forward) -> Result:
    return _with(call, {torch.relu: _slope(torch.relu, torch.ones_like)})
