"""Mistakes in a step of the recurrence, and in what lies between layers."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import linear

from torch_impl.execution.calls import Call, Forward, Result
from torch_impl.nets.modules import manual_step

from .fault import fault
from .inject import Tensor, by_step, layer_by_layer, layer_of, replaced, stepped, weights

Gates = tuple[Tensor, ...]


def _net_inputs(net: Any, params: Any, suffix: str, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """From the input and from the hidden state, each with its bias."""
    return (
        linear(x, params[f"weight_ih{suffix}"], params.get(f"bias_ih{suffix}")),
        linear(h, params[f"weight_hh{suffix}"], params.get(f"bias_hh{suffix}")),
    )


def _gru(rule: Callable[[Gates, Gates, Tensor], Tensor]) -> Callable[..., Any]:
    """A GRU's step, its new state from rule(u_r u_z u_n, v_r v_z v_n, h)."""

    def step(net: Any, params: Any, suffix: str, x: Tensor, state: Any) -> list[Tensor]:
        u, v = _net_inputs(net, params, suffix, x, state[0])
        return [rule(u.chunk(3, -1), v.chunk(3, -1), state[0])]

    return step


def _lstm(rule: Callable[[Gates, Tensor], tuple[Tensor, Tensor]]) -> Callable[..., Any]:
    """An LSTM's step, its new state (h before the projection, c) from rule(a_i a_f a_g a_o, c)."""

    def step(net: Any, params: Any, suffix: str, x: Tensor, state: Any) -> list[Tensor]:
        u, v = _net_inputs(net, params, suffix, x, state[0])
        m, c = rule((u + v).chunk(4, -1), state[1])
        return [linear(m, params[f"weight_hr{suffix}"]) if net.proj_size else m, c]

    return step


@fault(
    "P",
    "the nonlinearity is lost on the way: tanh instead of relu",
    "pytorch/pytorch#120234",
    cells=("RNN_RELU",),
)
def tanh_for_relu(call: Call, way: Forward) -> Result:
    with replaced({torch.relu: torch.tanh}):
        return by_step(call)


@fault("P", "relu lets a hundredth of what is negative through", cells=("RNN_RELU",))
def leaky_relu(call: Call, way: Forward) -> Result:
    with replaced({torch.relu: torch.nn.functional.leaky_relu}):
        return by_step(call)


@fault("P", "relu ends at 6", cells=("RNN_RELU",))
def relu_ends_at_6(call: Call, way: Forward) -> Result:
    with replaced({torch.relu: torch.nn.functional.relu6}):
        return by_step(call)


@fault("P", "sigmoid is a broken line", cells=("GRU", "LSTM"))
def hard_sigmoid(call: Call, way: Forward) -> Result:
    with replaced({torch.sigmoid: torch.nn.functional.hardsigmoid}):
        return by_step(call)


@fault("P", "sigmoid is cut off beyond ±8", cells=("GRU", "LSTM"))
def sigmoid_cut_off(call: Call, way: Forward) -> Result:
    sigmoid = torch.sigmoid
    with replaced({torch.sigmoid: lambda a: sigmoid(a.clamp(-8, 8))}):
        return by_step(call)


@fault("P", "tanh is a ratio of polynomials", cells=("RNN_TANH", "GRU", "LSTM"))
def rational_tanh(call: Call, way: Forward) -> Result:
    def approximate(a: Tensor) -> Tensor:
        a = a.clamp(-3, 3)
        return a * (27 + a * a) / (27 + 9 * a * a)

    with replaced({torch.tanh: approximate}):
        return by_step(call)


@fault("P", "tanh by exponentials loses small arguments", cells=("RNN_TANH", "GRU", "LSTM"))
def tanh_loses_small_arguments(call: Call, way: Forward) -> Result:
    def exponentials(a: Tensor) -> Tensor:
        e = torch.exp(2 * a.clamp(-40, 40))
        return (e - 1) / (e + 1)

    with replaced({torch.tanh: exponentials}):
        return by_step(call)


@fault(
    "P",
    "units are updated in place, later ones read earlier ones' new values",
    cells=("RNN_TANH", "RNN_RELU"),
    where=lambda c: c.H > 1,
)
def units_updated_in_place(call: Call, way: Forward) -> Result:
    def step(net: Any, params: Any, suffix: str, x: Tensor, state: Any) -> list[Tensor]:
        phi = torch.tanh if net.mode == "RNN_TANH" else torch.relu
        h = list(state[0].unbind(-1))
        for unit in range(len(h)):
            u, v = _net_inputs(net, params, suffix, x, torch.stack(h, -1))
            h[unit] = phi(u + v)[..., unit]
        return [torch.stack(h, -1)]

    return by_step(call, step)


@fault(
    "P",
    "the reset gate is applied before the matrix product",
    "tracel-ai/burn#2701, root-project/root#5367",
    cells=("GRU",),
)
def reset_before_the_product(call: Call, way: Forward) -> Result:
    def step(net: Any, params: Any, suffix: str, x: Tensor, state: Any) -> list[Tensor]:
        h = state[0]
        u, v = _net_inputs(net, params, suffix, x, h)
        (u_r, u_z, u_n), (v_r, v_z, _) = u.chunk(3, -1), v.chunk(3, -1)
        r, z = torch.sigmoid(u_r + v_r), torch.sigmoid(u_z + v_z)
        v_n = _net_inputs(net, params, suffix, x, r * h)[1].chunk(3, -1)[2]
        return [(1 - z) * torch.tanh(u_n + v_n) + z * h]

    return by_step(call, step)


@fault("P", "the update gate is the other way round", cells=("GRU",))
def update_gate_flipped(call: Call, way: Forward) -> Result:
    def rule(u: Gates, v: Gates, h: Tensor) -> Tensor:
        r, z = torch.sigmoid(u[0] + v[0]), torch.sigmoid(u[1] + v[1])
        return z * torch.tanh(u[2] + r * v[2]) + (1 - z) * h

    return by_step(call, _gru(rule))


@fault("P", "b_hn stands outside the reset gate", cells=("GRU",), where=lambda c: c.bias)
def b_hn_outside_the_reset_gate(call: Call, way: Forward) -> Result:
    def step(net: Any, params: Any, suffix: str, x: Tensor, state: Any) -> list[Tensor]:
        h, H = state[0], net.hidden_size
        u, v = _net_inputs(net, params, suffix, x, h)
        (u_r, u_z, u_n), (v_r, v_z, v_n) = u.chunk(3, -1), v.chunk(3, -1)
        r, z = torch.sigmoid(u_r + v_r), torch.sigmoid(u_z + v_z)
        b = params[f"bias_hh{suffix}"][2 * H :]
        return [(1 - z) * torch.tanh(u_n + r * (v_n - b) + b) + z * h]

    return by_step(call, step)


@fault("P", "the reset gate is never applied", cells=("GRU",))
def reset_gate_missing(call: Call, way: Forward) -> Result:
    def rule(u: Gates, v: Gates, h: Tensor) -> Tensor:
        z = torch.sigmoid(u[1] + v[1])
        return (1 - z) * torch.tanh(u[2] + v[2]) + z * h

    return by_step(call, _gru(rule))


@fault(
    "P",
    "without bias and h_0, rows from the third on start from what was in the buffer",
    "microsoft/onnxruntime#3893",
    where=lambda c: not c.bias and not c.state and c.B > 2,
)
def buffer_not_cleared(call: Call, way: Forward) -> Result:
    net, B = call.net, call.x.shape[0 if call.net.batch_first else 1]
    widths = [getattr(net, "proj_size", 0) or net.hidden_size, net.hidden_size]
    depth = net.num_layers * (1 + net.bidirectional)
    left = [call.x.new_zeros(depth, B, w) for w in widths[: 1 + (net.mode == "LSTM")]]
    for s in left:
        s[:, 2:] = 0.25
    return way(call._replace(state=left))


@fault("P", "h is o ⊙ c, without the tanh", cells=("LSTM",))
def tanh_of_c_missing(call: Call, way: Forward) -> Result:
    def rule(a: Gates, c: Tensor) -> tuple[Tensor, Tensor]:
        c = torch.sigmoid(a[1]) * c + torch.sigmoid(a[0]) * torch.tanh(a[2])
        return torch.sigmoid(a[3]) * c, c

    return by_step(call, _lstm(rule))


@fault("P", "h is made from the cell state before the step", cells=("LSTM",))
def h_from_the_old_c(call: Call, way: Forward) -> Result:
    def rule(a: Gates, c: Tensor) -> tuple[Tensor, Tensor]:
        new = torch.sigmoid(a[1]) * c + torch.sigmoid(a[0]) * torch.tanh(a[2])
        return torch.sigmoid(a[3]) * torch.tanh(c), new

    return by_step(call, _lstm(rule))


@fault("P", "nothing is ever forgotten", cells=("LSTM",))
def forget_gate_missing(call: Call, way: Forward) -> Result:
    def rule(a: Gates, c: Tensor) -> tuple[Tensor, Tensor]:
        c = c + torch.sigmoid(a[0]) * torch.tanh(a[2])
        return torch.sigmoid(a[3]) * torch.tanh(c), c

    return by_step(call, _lstm(rule))


@fault("P", "the input gate is 1 − f", cells=("LSTM",))
def input_gate_coupled(call: Call, way: Forward) -> Result:
    def rule(a: Gates, c: Tensor) -> tuple[Tensor, Tensor]:
        f = torch.sigmoid(a[1])
        c = f * c + (1 - f) * torch.tanh(a[2])
        return torch.sigmoid(a[3]) * torch.tanh(c), c

    return by_step(call, _lstm(rule))


@fault("P", "the cell state is clipped to ±1", cells=("LSTM",))
def cell_state_clipped(call: Call, way: Forward) -> Result:
    def rule(a: Gates, c: Tensor) -> tuple[Tensor, Tensor]:
        c = torch.sigmoid(a[1]) * c + torch.sigmoid(a[0]) * torch.tanh(a[2])
        c = c.clamp(-1, 1)
        return torch.sigmoid(a[3]) * torch.tanh(c), c

    return by_step(call, _lstm(rule))


@fault("P", "the output gate sees the cell state", cells=("LSTM",))
def peephole(call: Call, way: Forward) -> Result:
    def rule(a: Gates, c: Tensor) -> tuple[Tensor, Tensor]:
        c = torch.sigmoid(a[1]) * c + torch.sigmoid(a[0]) * torch.tanh(a[2])
        return torch.sigmoid(a[3] + c) * torch.tanh(c), c

    return by_step(call, _lstm(rule))


@fault("P", "the state is lost at every fourth step", where=lambda c: c.T > 4)
def state_lost_between_chunks(call: Call, way: Forward) -> Result:
    def make(suffix: str) -> Callable[..., Any]:
        done: list[int] = []

        def step(net: Any, params: Any, own: str, x: Tensor, state: Any) -> Any:
            lost = len(done) == 4
            done.append(1)
            return manual_step(net, params, own, x, [0 * s for s in state] if lost else state)

        return step

    return stepped(call, make)


@fault(
    "P",
    "units beyond a multiple of eight keep their old state",
    where=lambda c: c.H > 8 and c.H % 8 > 0 and not c.P,
)
def tail_of_the_units(call: Call, way: Forward) -> Result:
    def step(net: Any, params: Any, suffix: str, x: Tensor, state: Any) -> list[Tensor]:
        whole = torch.arange(net.hidden_size) < net.hidden_size // 8 * 8
        new = manual_step(net, params, suffix, x, state)
        return [torch.where(whole, n, old) for n, old in zip(new, state, strict=True)]

    return by_step(call, step)


@fault(
    "P",
    "layers above the first read only the forward half of a bidirectional layer",
    "pytorch/pytorch#89357, pytorch/pytorch#118279",
    where=lambda c: c.bidirectional and c.layers > 1,
)
def higher_layers_read_the_forward_half(call: Call, way: Forward) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        forward = torch.ones(p.shape[-1], dtype=p.dtype)
        forward[len(forward) // 2 :] = 0
        return p * forward if name.startswith("weight_ih") and layer_of(name) else p

    return way(weights(call, change))


@fault("P", "each layer's input is added to its output", where=lambda c: c.layers > 1)
def residual_between_layers(call: Call, way: Forward) -> Result:
    before: list[Tensor] = []

    def between(y: Tensor, mask: Tensor) -> Tensor:
        before.append(y)
        return (y + before[-2] if len(before) > 1 else 1.5 * y) * mask

    return layer_by_layer(call, between)


def _dropping(case: Any) -> bool:
    return case.dropout > 0


@fault(
    "P",
    "dropout of everything gives NaN: 1 / (1 − p) unconditionally",
    "pytorch/pytorch#190059",
    where=lambda c: c.dropout == 1,
)
def dropout_1_is_nan(call: Call, way: Forward) -> Result:
    return layer_by_layer(call, lambda y, mask: y * mask * torch.inf)


@fault("P", "what dropout keeps is not scaled up", where=lambda c: 0 < c.dropout < 1)
def dropout_not_scaled(call: Call, way: Forward) -> Result:
    return layer_by_layer(call, lambda y, mask: y * (mask != 0))


@fault("P", "dropout drops what it should keep", where=_dropping)
def dropout_inverted(call: Call, way: Forward) -> Result:
    p = call.net.dropout
    return layer_by_layer(call, lambda y, mask: y * (mask == 0) / max(1 - p, p))


@fault("P", "dropout does nothing in training", where=_dropping)
def dropout_missing(call: Call, way: Forward) -> Result:
    return layer_by_layer(call, lambda y, mask: y)


@fault("P", "every step has the dropout mask of the first", where=lambda c: 0 < c.dropout < 1)
def dropout_mask_of_the_first_step(call: Call, way: Forward) -> Result:
    masks = [mask[:1].expand_as(mask) for mask in call.masks]
    return layer_by_layer(call._replace(masks=masks))


@fault(
    "P",
    "all layers have the dropout mask of the first",
    where=lambda c: 0 < c.dropout < 1 and c.layers > 2,
)
def dropout_mask_of_the_first_layer(call: Call, way: Forward) -> Result:
    return layer_by_layer(call._replace(masks=call.masks[:1] * len(call.masks)))
