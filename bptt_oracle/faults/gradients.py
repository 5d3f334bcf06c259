"""Faults in the gradient only: every value of the forward pass is correct."""

from collections.abc import Callable
from itertools import count
from typing import Any

import torch

from torch_impl.execution.calls import Call, Forward, Result, axes
from torch_impl.nets.modules import NetOptions, Params, Tensors, manual_step

from .fault import fault
from .inject import (
    Function,
    Step,
    Tensor,
    change_gradient,
    change_parameters,
    change_states,
    layer_of,
    replace_functions,
    run_layers,
    run_steps,
    run_steps_made_by,
    valid_mask,
)


def _change_parameter_gradients(
    call: Call, part_of_name: str, change: Callable[[Tensor], Tensor]
) -> Call:
    """The call with changed gradients for the parameters whose name contains `part_of_name`."""
    return change_parameters(
        call, lambda name, p: change_gradient(p, change) if part_of_name in name else p
    )


def _change_final_gradient(
    forward: Forward, call: Call, index: int, change: Callable[[Tensor], Tensor]
) -> Result:
    """The result, with a changed gradient for h_n (index 0) or c_n (index 1)."""
    output, final = forward(call)
    return output, [change_gradient(f, change) if k == index else f for k, f in enumerate(final)]


def _read_contiguously(grad: Tensor) -> Tensor:
    """Read the memory of a gradient as if the gradient were contiguous."""
    return grad.as_strided(grad.shape, torch.empty(grad.shape).stride())


@fault(
    "G",
    "a non-contiguous gradient of h_n is read as if it were contiguous",
    "pytorch/pytorch#619, pytorch/pytorch#620",
    applies_to=lambda c: c.strided and "h_n" in c.cotangents,
)
def d_h_n_read_contiguously(call: Call, forward: Forward) -> Result:
    return _change_final_gradient(forward, call, 0, _read_contiguously)


@fault(
    "G",
    "a non-contiguous gradient of c_n is read as if it were contiguous",
    cells=("LSTM",),
    applies_to=lambda c: c.strided and "c_n" in c.cotangents,
)
def d_c_n_read_contiguously(call: Call, forward: Forward) -> Result:
    return _change_final_gradient(forward, call, 1, _read_contiguously)


@fault(
    "G",
    "a non-contiguous gradient of the output is read as if it were contiguous",
    applies_to=lambda c: c.strided and "output" in c.cotangents and not c.lengths,
)
def d_output_read_contiguously(call: Call, forward: Forward) -> Result:
    output, final = forward(call)
    return change_gradient(output, _read_contiguously), final


@fault("G", "the gradient of h_n is ignored", applies_to=lambda c: "h_n" in c.cotangents)
def d_h_n_ignored(call: Call, forward: Forward) -> Result:
    return _change_final_gradient(forward, call, 0, torch.zeros_like)


@fault(
    "G",
    "the gradient of c_n is ignored",
    cells=("LSTM",),
    applies_to=lambda c: "c_n" in c.cotangents,
)
def d_c_n_ignored(call: Call, forward: Forward) -> Result:
    return _change_final_gradient(forward, call, 1, torch.zeros_like)


@fault(
    "G",
    "the gradient of an unused h_n is 1 instead of 0",
    applies_to=lambda c: "h_n" not in c.cotangents,
)
def undefined_gradient_is_ones(call: Call, forward: Forward) -> Result:
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

    output, (h_n, *rest) = forward(call)
    if rest:  # c_n may be the only output used; the graph must contain Joined
        rest = [rest[0] + 0 * output.sum()]
    apply: Callable[..., tuple[Tensor, Tensor]] = Joined.apply
    output, h_n = apply(output, h_n)
    return output, [h_n, *rest]


@fault(
    "G",
    "gradients of the biases are multiplied by the number of steps",
    "apache/mxnet#17086",
    applies_to=lambda c: c.bias and c.T > 1,
)
def bias_gradients_times_steps(call: Call, forward: Forward) -> Result:
    T = call.x.shape[axes(call)[0]]
    return forward(_change_parameter_gradients(call, "bias", lambda g: g * T))


@fault(
    "G",
    "biases of layers above the first get no gradient",
    "apache/mxnet#17818",
    applies_to=lambda c: c.bias and c.layers > 1,
)
def bias_gradients_of_higher_layers_zero(call: Call, forward: Forward) -> Result:
    return forward(
        change_parameters(call, lambda n, p: p.detach() if "bias" in n and layer_of(n) else p)
    )


@fault("G", "bias_hh gets the gradient of bias_ih", cells=("GRU",), applies_to=lambda c: c.bias)
def bias_hh_gradient_of_bias_ih(call: Call, forward: Forward) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        if name.startswith("bias_hh"):
            return p.detach()
        if name.startswith("bias_ih"):
            other = call.params[name.replace("_ih_", "_hh_")]
            return p + (other - other.detach())
        return p

    return forward(change_parameters(call, change))


@fault(
    "G",
    "weight gradients are wrong if the hidden size is 1",
    "uxlfoundation/oneDNN#5913",
    applies_to=lambda c: c.H == 1,
)
def weight_gradients_at_hidden_size_1(call: Call, forward: Forward) -> Result:
    return forward(
        _change_parameter_gradients(
            call, "weight_ih", lambda g: g.T.reshape(-1).roll(1).reshape(g.shape)
        )
    )


@fault(
    "G",
    "the gradient of weight_ih of a middle layer is computed from another input",
    "apache/mxnet#17898",
    applies_to=lambda c: c.layers > 2,
)
def middle_layers_weight_gradient(call: Call, forward: Forward) -> Result:
    return forward(_change_parameter_gradients(call, "weight_ih_l1", lambda g: g.roll(1, -1)))


@fault(
    "G",
    "the gradient of the input lacks the part of the reverse direction",
    "apache/mxnet#18203",
    applies_to=lambda c: c.bidirectional and c.layers == 1,
)
def reverse_part_of_d_x_lost(call: Call, forward: Forward) -> Result:
    output, final = forward(call)
    detached, detached_final = forward(call._replace(x=call.x.detach()))
    halves = output.chunk(2, -1)[0], detached.chunk(2, -1)[1]
    return torch.cat(halves, -1), [
        torch.cat([f[:1], r[1:]]) for f, r in zip(final, detached_final, strict=True)
    ]


@fault(
    "G",
    "the backward pass ignores the dropout mask between layers",
    "pytorch/pytorch#190056",
    applies_to=lambda c: c.dropout > 0,
)
def dropout_mask_ignored_backward(call: Call, forward: Forward) -> Result:
    return run_layers(call, lambda y, mask: y + (y * mask - y).detach())


@fault("G", "no gradient flows from a layer to the one below", applies_to=lambda c: c.layers > 1)
def gradient_stops_between_layers(call: Call, forward: Forward) -> Result:
    return run_layers(call, lambda y, mask: y.detach() * mask)


@fault(
    "G",
    "the gradient of the initial state is zero",
    applies_to=lambda c: c.state,
)
def d_state_zero(call: Call, forward: Forward) -> Result:
    return forward(change_states(call, lambda s: s.detach()))


@fault("G", "the gradient of c_0 is zero", cells=("LSTM",), applies_to=lambda c: c.state)
def d_c_0_zero(call: Call, forward: Forward) -> Result:
    h, c = call.state or []
    return forward(call._replace(state=[h, c.detach()]))


@fault(
    "G",
    "gradients of the initial states are in reverse order of layers and directions",
    applies_to=lambda c: c.state and c.layers * (1 + c.bidirectional) > 1,
)
def d_state_in_reverse_order(call: Call, forward: Forward) -> Result:
    return forward(change_states(call, lambda s: change_gradient(s, lambda g: g.flip(0))))


@fault(
    "G",
    "the gradient of a batch-first input is laid out time-first",
    applies_to=lambda c: c.layout == "batch",
)
def d_x_time_major(call: Call, forward: Forward) -> Result:
    x = change_gradient(call.x, lambda g: g.transpose(0, 1).reshape(g.shape))
    return forward(call._replace(x=x))


@fault("G", "the gradient of the input is reversed in time", applies_to=lambda c: c.T > 1)
def d_x_backwards_in_time(call: Call, forward: Forward) -> Result:
    return forward(call._replace(x=change_gradient(call.x, lambda g: g.flip(axes(call)[0]))))


@fault("G", "padding has a nonzero gradient", applies_to=lambda c: len(set(c.lengths)) > 1)
def d_x_of_padding(call: Call, forward: Forward) -> Result:
    mask = valid_mask(call)
    x = change_gradient(call.x, lambda g: torch.where(mask, g, torch.full_like(g, 1e-3)))
    return forward(call._replace(x=x))


@fault("G", "parameter gradients are divided by the batch size", applies_to=lambda c: c.B > 1)
def gradients_averaged_over_the_batch(call: Call, forward: Forward) -> Result:
    batch = axes(call)[1] or 0
    return forward(_change_parameter_gradients(call, "", lambda g: g / call.x.shape[batch]))


@fault("G", "parameter gradients are clipped to ±1/8")
def gradients_clipped(call: Call, forward: Forward) -> Result:
    return forward(_change_parameter_gradients(call, "", lambda g: g.clamp(-0.125, 0.125)))


@fault("G", "one element of the gradient of weight_hh is wrong by a thousandth of the largest")
def one_element_of_d_weight_hh(call: Call, forward: Forward) -> Result:
    def change(grad: Tensor) -> Tensor:
        error = torch.zeros_like(grad)
        error[-1, -1] = 1e-3 * grad.abs().max()
        return grad + error

    return forward(_change_parameter_gradients(call, "weight_hh_l0", change))


@fault("G", "the gradient is truncated to two steps back in time", applies_to=lambda c: c.T > 2)
def gradient_truncated_in_time(call: Call, forward: Forward) -> Result:
    def make_step(_: str) -> Step:
        steps = count()

        def step(
            net: NetOptions, params: Params, suffix: str, x: Tensor, state: Tensors
        ) -> Tensors:
            t = next(steps)
            if t > 0 and t % 2 == 0:
                state = [s.detach() for s in state]
            return manual_step(net, params, suffix, x, state)

        return step

    return run_steps_made_by(call, make_step)


@fault("G", "no gradient flows through the cell state from step to step", cells=("LSTM",))
def c_carries_no_gradient(call: Call, forward: Forward) -> Result:
    def step(net: NetOptions, params: Params, suffix: str, x: Tensor, state: Tensors) -> Tensors:
        return manual_step(net, params, suffix, x, [state[0], state[1].detach()])

    return run_steps(call, step)


@fault("G", "weight_hh gets no gradient from the first step", applies_to=lambda c: c.state)
def first_step_missing_in_d_weight_hh(call: Call, forward: Forward) -> Result:
    def make_step(_: str) -> Step:
        steps = count()

        def step(
            net: NetOptions, params: Params, suffix: str, x: Tensor, state: Tensors
        ) -> Tensors:
            if next(steps) == 0:
                name = f"weight_hh{suffix}"
                params = {**params, name: params[name].detach()}
            return manual_step(net, params, suffix, x, state)

        return step

    return run_steps_made_by(call, make_step)


@fault(
    "G", "only the parameters of the last layer get gradients", applies_to=lambda c: c.layers > 1
)
def lower_layers_get_no_gradient(call: Call, forward: Forward) -> Result:
    last = call.net.num_layers - 1
    return forward(change_parameters(call, lambda n, p: p if layer_of(n) == last else p.detach()))


def _with_derivative(
    function: Callable[[Tensor], Tensor], derivative: Callable[[Tensor], Tensor]
) -> Function:
    """The elementwise function with another derivative; both are functions of the argument."""

    class WithDerivative(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Tensor) -> Tensor:
            ctx.a = a.detach()
            return function(a)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return grads[0] * derivative(ctx.a)

    apply: Function = WithDerivative.apply
    return apply


@fault("G", "the derivative of sigmoid lacks the factor 1 − σ", cells=("GRU", "LSTM"))
def sigmoid_derivative(call: Call, forward: Forward) -> Result:
    with replace_functions({torch.sigmoid: _with_derivative(torch.sigmoid, torch.sigmoid)}):
        return run_steps(call)


@fault(
    "G",
    "the derivative of tanh a is 1 − a² instead of 1 − tanh² a",
    cells=("RNN_TANH", "GRU", "LSTM"),
)
def tanh_derivative(call: Call, forward: Forward) -> Result:
    with replace_functions({torch.tanh: _with_derivative(torch.tanh, lambda a: 1 - a * a)}):
        return run_steps(call)


@fault("G", "the derivative of relu is 1 everywhere", cells=("RNN_RELU",))
def relu_derivative(call: Call, forward: Forward) -> Result:
    with replace_functions({torch.relu: _with_derivative(torch.relu, torch.ones_like)}):
        return run_steps(call)
