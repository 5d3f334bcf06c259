"""Faults in a step of the recurrence, and in the connection between layers."""

from collections.abc import Callable
from itertools import count

import torch
from torch.nn.functional import linear

from torch_impl.execution.calls import Call, Forward, Result
from torch_impl.nets.modules import (
    NetOptions,
    Params,
    Tensors,
    directions,
    manual_step,
    output_size,
)

from ..cases.case import Case
from .fault import fault
from .inject import (
    Step,
    Tensor,
    change_parameters,
    layer_of,
    replace_functions,
    run_layers,
    run_steps,
    run_steps_made_by,
)

Gates = tuple[Tensor, ...]


def _net_inputs(params: Params, suffix: str, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """u = W_ih x + b_ih and v = W_hh h + b_hh, each [B, gates · H]."""
    return (
        linear(x, params[f"weight_ih{suffix}"], params.get(f"bias_ih{suffix}")),
        linear(h, params[f"weight_hh{suffix}"], params.get(f"bias_hh{suffix}")),
    )


def _gru(rule: Callable[[Gates, Gates, Tensor], Tensor]) -> Step:
    """A GRU's step whose new state is rule((u_r, u_z, u_n), (v_r, v_z, v_n), h)."""

    def step(net: NetOptions, params: Params, suffix: str, x: Tensor, state: Tensors) -> Tensors:
        u, v = _net_inputs(params, suffix, x, state[0])
        return [rule(u.chunk(3, -1), v.chunk(3, -1), state[0])]

    return step


def _lstm(rule: Callable[[Gates, Tensor], tuple[Tensor, Tensor]]) -> Step:
    """An LSTM's step: rule((a_i, a_f, a_g, a_o), c) gives (h before the projection, new c)."""

    def step(net: NetOptions, params: Params, suffix: str, x: Tensor, state: Tensors) -> Tensors:
        u, v = _net_inputs(params, suffix, x, state[0])
        m, c = rule((u + v).chunk(4, -1), state[1])
        return [linear(m, params[f"weight_hr{suffix}"]) if net.proj_size else m, c]

    return step


@fault(
    "P",
    "the nonlinearity argument is lost: tanh is used instead of relu",
    "pytorch/pytorch#120234",
    cells=("RNN_RELU",),
)
def tanh_for_relu(call: Call, forward: Forward) -> Result:
    with replace_functions({torch.relu: torch.tanh}):
        return run_steps(call)


@fault("P", "relu multiplies negative arguments by 0.01 (leaky relu)", cells=("RNN_RELU",))
def leaky_relu(call: Call, forward: Forward) -> Result:
    with replace_functions({torch.relu: torch.nn.functional.leaky_relu}):
        return run_steps(call)


@fault("P", "relu is limited to 6", cells=("RNN_RELU",))
def relu_ends_at_6(call: Call, forward: Forward) -> Result:
    with replace_functions({torch.relu: torch.nn.functional.relu6}):
        return run_steps(call)


@fault("P", "sigmoid is approximated by straight lines (hard sigmoid)", cells=("GRU", "LSTM"))
def hard_sigmoid(call: Call, forward: Forward) -> Result:
    with replace_functions({torch.sigmoid: torch.nn.functional.hardsigmoid}):
        return run_steps(call)


@fault("P", "the argument of sigmoid is limited to ±8", cells=("GRU", "LSTM"))
def sigmoid_cut_off(call: Call, forward: Forward) -> Result:
    sigmoid = torch.sigmoid
    with replace_functions({torch.sigmoid: lambda a: sigmoid(a.clamp(-8, 8))}):
        return run_steps(call)


@fault("P", "tanh is approximated by a ratio of polynomials", cells=("RNN_TANH", "GRU", "LSTM"))
def rational_tanh(call: Call, forward: Forward) -> Result:
    def approximate(a: Tensor) -> Tensor:
        a = a.clamp(-3, 3)
        return a * (27 + a * a) / (27 + 9 * a * a)

    with replace_functions({torch.tanh: approximate}):
        return run_steps(call)


@fault(
    "P",
    "tanh is computed from exponentials, which is inaccurate for small arguments",
    cells=("RNN_TANH", "GRU", "LSTM"),
)
def tanh_loses_small_arguments(call: Call, forward: Forward) -> Result:
    def exponentials(a: Tensor) -> Tensor:
        e = torch.exp(2 * a.clamp(-40, 40))
        return (e - 1) / (e + 1)

    with replace_functions({torch.tanh: exponentials}):
        return run_steps(call)


@fault(
    "P",
    "units are updated in place, so later units read the new values of earlier ones",
    cells=("RNN_TANH", "RNN_RELU"),
    applies_to=lambda c: c.H > 1,
)
def units_updated_in_place(call: Call, forward: Forward) -> Result:
    def step(net: NetOptions, params: Params, suffix: str, x: Tensor, state: Tensors) -> Tensors:
        phi = torch.tanh if net.mode == "RNN_TANH" else torch.relu
        h = list(state[0].unbind(-1))
        for unit in range(len(h)):
            u, v = _net_inputs(params, suffix, x, torch.stack(h, -1))
            h[unit] = phi(u + v)[..., unit]
        return [torch.stack(h, -1)]

    return run_steps(call, step)


@fault(
    "P",
    "the reset gate is applied before the matrix product",
    "tracel-ai/burn#2701, root-project/root#5367",
    cells=("GRU",),
)
def reset_before_the_product(call: Call, forward: Forward) -> Result:
    def step(net: NetOptions, params: Params, suffix: str, x: Tensor, state: Tensors) -> Tensors:
        h = state[0]
        u, v = _net_inputs(params, suffix, x, h)
        (u_r, u_z, u_n), (v_r, v_z, _) = u.chunk(3, -1), v.chunk(3, -1)
        r, z = torch.sigmoid(u_r + v_r), torch.sigmoid(u_z + v_z)
        v_n = _net_inputs(params, suffix, x, r * h)[1].chunk(3, -1)[2]
        return [(1 - z) * torch.tanh(u_n + v_n) + z * h]

    return run_steps(call, step)


@fault("P", "z and 1 − z are swapped in the update gate", cells=("GRU",))
def update_gate_flipped(call: Call, forward: Forward) -> Result:
    def rule(u: Gates, v: Gates, h: Tensor) -> Tensor:
        r, z = torch.sigmoid(u[0] + v[0]), torch.sigmoid(u[1] + v[1])
        return z * torch.tanh(u[2] + r * v[2]) + (1 - z) * h

    return run_steps(call, _gru(rule))


@fault("P", "b_hn is added outside the reset gate", cells=("GRU",), applies_to=lambda c: c.bias)
def b_hn_outside_the_reset_gate(call: Call, forward: Forward) -> Result:
    def step(net: NetOptions, params: Params, suffix: str, x: Tensor, state: Tensors) -> Tensors:
        h, H = state[0], net.hidden_size
        u, v = _net_inputs(params, suffix, x, h)
        (u_r, u_z, u_n), (v_r, v_z, v_n) = u.chunk(3, -1), v.chunk(3, -1)
        r, z = torch.sigmoid(u_r + v_r), torch.sigmoid(u_z + v_z)
        b = params[f"bias_hh{suffix}"][2 * H :]
        return [(1 - z) * torch.tanh(u_n + r * (v_n - b) + b) + z * h]

    return run_steps(call, step)


@fault("P", "the reset gate is never applied", cells=("GRU",))
def reset_gate_missing(call: Call, forward: Forward) -> Result:
    def rule(u: Gates, v: Gates, h: Tensor) -> Tensor:
        z = torch.sigmoid(u[1] + v[1])
        return (1 - z) * torch.tanh(u[2] + v[2]) + z * h

    return run_steps(call, _gru(rule))


@fault(
    "P",
    "without bias and h_0, rows after the second start from an uncleared buffer",
    "microsoft/onnxruntime#3893",
    applies_to=lambda c: not c.bias and not c.state and c.B > 2,
)
def buffer_not_cleared(call: Call, forward: Forward) -> Result:
    net, B = call.net, call.x.shape[0 if call.net.batch_first else 1]
    widths = [output_size(net), net.hidden_size]
    depth = net.num_layers * directions(net)
    buffer = [call.x.new_zeros(depth, B, w) for w in widths[: 1 + (net.mode == "LSTM")]]
    for s in buffer:
        s[:, 2:] = 0.25
    return forward(call._replace(state=buffer))


@fault("P", "h is o ⊙ c instead of o ⊙ tanh c", cells=("LSTM",))
def tanh_of_c_missing(call: Call, forward: Forward) -> Result:
    def rule(a: Gates, c: Tensor) -> tuple[Tensor, Tensor]:
        c = torch.sigmoid(a[1]) * c + torch.sigmoid(a[0]) * torch.tanh(a[2])
        return torch.sigmoid(a[3]) * c, c

    return run_steps(call, _lstm(rule))


@fault("P", "h is computed from the cell state before the step", cells=("LSTM",))
def h_from_the_old_c(call: Call, forward: Forward) -> Result:
    def rule(a: Gates, c: Tensor) -> tuple[Tensor, Tensor]:
        new = torch.sigmoid(a[1]) * c + torch.sigmoid(a[0]) * torch.tanh(a[2])
        return torch.sigmoid(a[3]) * torch.tanh(c), new

    return run_steps(call, _lstm(rule))


@fault("P", "the forget gate is missing", cells=("LSTM",))
def forget_gate_missing(call: Call, forward: Forward) -> Result:
    def rule(a: Gates, c: Tensor) -> tuple[Tensor, Tensor]:
        c = c + torch.sigmoid(a[0]) * torch.tanh(a[2])
        return torch.sigmoid(a[3]) * torch.tanh(c), c

    return run_steps(call, _lstm(rule))


@fault("P", "the input gate is 1 − f", cells=("LSTM",))
def input_gate_coupled(call: Call, forward: Forward) -> Result:
    def rule(a: Gates, c: Tensor) -> tuple[Tensor, Tensor]:
        f = torch.sigmoid(a[1])
        c = f * c + (1 - f) * torch.tanh(a[2])
        return torch.sigmoid(a[3]) * torch.tanh(c), c

    return run_steps(call, _lstm(rule))


@fault("P", "the cell state is clipped to ±1", cells=("LSTM",))
def cell_state_clipped(call: Call, forward: Forward) -> Result:
    def rule(a: Gates, c: Tensor) -> tuple[Tensor, Tensor]:
        c = torch.sigmoid(a[1]) * c + torch.sigmoid(a[0]) * torch.tanh(a[2])
        c = c.clamp(-1, 1)
        return torch.sigmoid(a[3]) * torch.tanh(c), c

    return run_steps(call, _lstm(rule))


@fault(
    "P", "the cell state is added to the net input of the output gate (peephole)", cells=("LSTM",)
)
def peephole(call: Call, forward: Forward) -> Result:
    def rule(a: Gates, c: Tensor) -> tuple[Tensor, Tensor]:
        c = torch.sigmoid(a[1]) * c + torch.sigmoid(a[0]) * torch.tanh(a[2])
        return torch.sigmoid(a[3] + c) * torch.tanh(c), c

    return run_steps(call, _lstm(rule))


@fault("P", "the state is set to zero before the fifth step", applies_to=lambda c: c.T > 4)
def state_lost_between_chunks(call: Call, forward: Forward) -> Result:
    def make_step(_: str) -> Step:
        steps = count()

        def step(
            net: NetOptions, params: Params, suffix: str, x: Tensor, state: Tensors
        ) -> Tensors:
            if next(steps) == 4:
                state = [0 * s for s in state]
            return manual_step(net, params, suffix, x, state)

        return step

    return run_steps_made_by(call, make_step)


@fault(
    "P",
    "units after the last multiple of eight keep their old state",
    applies_to=lambda c: c.H > 8 and c.H % 8 > 0 and not c.P,
)
def tail_of_the_units(call: Call, forward: Forward) -> Result:
    def step(net: NetOptions, params: Params, suffix: str, x: Tensor, state: Tensors) -> Tensors:
        updated = torch.arange(net.hidden_size) < net.hidden_size // 8 * 8
        new = manual_step(net, params, suffix, x, state)
        return [torch.where(updated, n, old) for n, old in zip(new, state, strict=True)]

    return run_steps(call, step)


@fault(
    "P",
    "layers above the first read only the forward direction of the layer below",
    "pytorch/pytorch#89357, pytorch/pytorch#118279",
    applies_to=lambda c: c.bidirectional and c.layers > 1,
)
def higher_layers_read_the_forward_half(call: Call, forward: Forward) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        mask = torch.ones(p.shape[-1], dtype=p.dtype)
        mask[len(mask) // 2 :] = 0
        return p * mask if name.startswith("weight_ih") and layer_of(name) else p

    return forward(change_parameters(call, change))


@fault("P", "each layer's input is added to its output", applies_to=lambda c: c.layers > 1)
def residual_between_layers(call: Call, forward: Forward) -> Result:
    outputs: list[Tensor] = []

    def between(y: Tensor, mask: Tensor) -> Tensor:
        outputs.append(y)
        return (y + outputs[-2] if len(outputs) > 1 else 1.5 * y) * mask

    return run_layers(call, between)


def _has_dropout(case: Case) -> bool:
    return case.dropout > 0


@fault(
    "P",
    "dropout with p = 1 gives NaN, because 1 / (1 − p) is computed unconditionally",
    "pytorch/pytorch#190059",
    applies_to=lambda c: c.dropout == 1,
)
def dropout_1_is_nan(call: Call, forward: Forward) -> Result:
    return run_layers(call, lambda y, mask: y * mask * torch.inf)


@fault(
    "P",
    "units kept by dropout are not scaled by 1 / (1 − p)",
    applies_to=lambda c: 0 < c.dropout < 1,
)
def dropout_not_scaled(call: Call, forward: Forward) -> Result:
    return run_layers(call, lambda y, mask: y * (mask != 0))


@fault("P", "dropout drops the units it should keep", applies_to=_has_dropout)
def dropout_inverted(call: Call, forward: Forward) -> Result:
    p = call.net.dropout
    return run_layers(call, lambda y, mask: y * (mask == 0) / max(1 - p, p))


@fault("P", "dropout does nothing in training", applies_to=_has_dropout)
def dropout_missing(call: Call, forward: Forward) -> Result:
    return run_layers(call, lambda y, mask: y)


@fault(
    "P",
    "every step uses the dropout mask of the first step",
    applies_to=lambda c: 0 < c.dropout < 1,
)
def dropout_mask_of_the_first_step(call: Call, forward: Forward) -> Result:
    masks = [mask[:1].expand_as(mask) for mask in call.masks]
    return run_layers(call._replace(masks=masks))


@fault(
    "P",
    "every layer uses the dropout mask of the first layer",
    applies_to=lambda c: 0 < c.dropout < 1 and c.layers > 2,
)
def dropout_mask_of_the_first_layer(call: Call, forward: Forward) -> Result:
    return run_layers(call._replace(masks=call.masks[:1] * len(call.masks)))
