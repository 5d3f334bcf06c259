"""A net computed by torch.nn's modules, by a loop of cells, and by a manual stack.

All three take tensors in the net's layout and return the padded output [T, B, D·F], F = P under a
projection and H otherwise, and the final states [L·D, B, ·]; all are differentiable. The module is
nn.RNN, nn.GRU or nn.LSTM. The other two write the recurrence out: the loop of cells layer by layer,
the manual stack with time outside and layers inside, as the documentation of nn.RNN sketches it,
but out of place, as autograd requires.

This file is copied into the programs of `bptt-oracle replay --script`. It imports only torch, and
STEPS, which the program defines; it computes D and F from the options that the program states.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch.nn.functional import linear
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..cells.table import STEPS

Tensors = Sequence[torch.Tensor]
Params = Mapping[str, torch.Tensor]

# torch.nn's classes without the initial draw of weights, which are replaced at once
_BLANK: dict[str, Any] = {
    name: type(name, (getattr(torch.nn, name),), {"reset_parameters": lambda self: None})
    for name in ("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell")
}


class NetOptions(Protocol):
    """What is read here of a net: the arguments of torch.nn's modules, and torch's `mode`."""

    @property
    def mode(self) -> str: ...  # RNN_TANH, RNN_RELU, GRU, LSTM, or a key of STEPS
    @property
    def input_size(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def num_layers(self) -> int: ...
    @property
    def bias(self) -> bool: ...
    @property
    def batch_first(self) -> bool: ...
    @property
    def dropout(self) -> float: ...
    @property
    def bidirectional(self) -> bool: ...
    @property
    def proj_size(self) -> int | None: ...


def directions(net: NetOptions) -> int:
    """D: 2 if bidirectional, otherwise 1."""
    return 1 + net.bidirectional


def output_size(net: NetOptions) -> int:
    """F, the features of h in one direction: P under a projection, otherwise H."""
    return net.proj_size or net.hidden_size


def zero_state(net: NetOptions, x: torch.Tensor) -> list[torch.Tensor]:
    """h_0 [L·D, B, F], and for an LSTM c_0 [L·D, B, H], of zeros for x [T, B, I]."""
    sizes = [output_size(net), *([net.hidden_size] if net.mode.startswith("LSTM") else [])]
    return [x.new_zeros(net.num_layers * directions(net), x.shape[1], size) for size in sizes]


def call_module(
    module: Callable[..., Any],
    net: NetOptions,
    x: torch.Tensor,
    lengths: Sequence[int] | None,
    enforce_sorted: bool,
    state: Tensors | None,
) -> tuple[torch.Tensor, Tensors]:
    """Call a module of torch.nn on a batch; with `lengths` the input is packed, the output padded.

    Raises whatever torch raises on invalid arguments.
    """
    initial = None if state is None else (tuple(state) if net.mode == "LSTM" else state[0])
    packed: Any = x
    if lengths is not None:
        packed = pack_padded_sequence(x, torch.tensor(lengths), net.batch_first, enforce_sorted)
    output, final = module(packed, initial)
    if lengths is not None:
        output, _ = pad_packed_sequence(output, net.batch_first)
    return output, final if net.mode == "LSTM" else (final,)


def new_module(net: NetOptions, params: Params) -> torch.nn.Module:
    """nn.RNN, nn.GRU or nn.LSTM with the net's options; `params` are used and not copied."""
    options: dict[str, Any] = {
        "num_layers": net.num_layers,
        "bias": net.bias,
        "batch_first": net.batch_first,
        "dropout": net.dropout,
        "bidirectional": net.bidirectional,
        "device": "meta",
    }
    if net.mode == "LSTM":
        options["proj_size"] = net.proj_size
    elif net.mode != "GRU":
        options["nonlinearity"] = _nonlinearity(net)
    module_class = _BLANK[type(net).__name__]
    return _set_parameters(module_class(net.input_size, net.hidden_size, **options), params)


def _nonlinearity(net: NetOptions) -> str:
    """tanh or relu, of an RNN."""
    return net.mode.removeprefix("RNN_").lower()


def _set_parameters(module: torch.nn.Module, params: Params) -> torch.nn.Module:
    """Replace the module's parameters and return it."""
    for name, value in params.items():
        setattr(module, name, value)
    if isinstance(module, torch.nn.RNNBase):
        module.flatten_parameters()
    return module


def loop_of_cells(
    net: NetOptions,
    params: Params,
    x: torch.Tensor,
    lengths: Sequence[int] | None,
    masks: Tensors,
    state: Tensors | None,
    cell: Callable[..., Callable[[torch.Tensor, Tensors], Tensors]] | None = None,
) -> tuple[torch.Tensor, Tensors]:
    """Step nn.RNNCell, nn.GRUCell or nn.LSTMCell over time, layer after layer.

    `masks` [T, B, D·F], one for each layer except the last, are already scaled. `cell` may replace
    torch.nn's cells; it has the signature of `_cell`.
    """
    unbatched = x.dim() == 2
    x, initial = _time_major(net, x, state)
    select = _select_rows(x, lengths)
    D, final = directions(net), []
    for layer in range(net.num_layers):
        outputs_by_direction = []
        for direction in range(D):
            step = (cell or _cell)(net, params, layer, direction)
            h: Tensors = [s[layer * D + direction] for s in initial]
            outputs = [x.new_zeros(0)] * len(x)
            for t in reversed(range(len(x))) if direction else range(len(x)):
                h = select(t, step(x[t], h), h)
                outputs[t] = select(t, h[:1])[0]
            outputs_by_direction.append(torch.stack(outputs))
            final.append(h)
        x = torch.cat(outputs_by_direction, dim=-1)
        if masks and layer < net.num_layers - 1:
            x = x * masks[layer]
    return _in_layout(net, unbatched, x, [torch.stack(s) for s in zip(*final, strict=True)])


def manual_stack(
    net: NetOptions,
    params: Params,
    x: torch.Tensor,
    lengths: Sequence[int] | None,
    masks: Tensors,
    state: Tensors | None,
) -> tuple[torch.Tensor, Tensors]:
    """Loop over time outside and layers inside, which is possible in one direction only.

    `masks` [T, B, F], one for each layer except the last, are already scaled.
    """
    unbatched = x.dim() == 2
    x, initial = _time_major(net, x, state)
    select = _select_rows(x, lengths)
    states: list[Tensors] = [[s[layer] for s in initial] for layer in range(net.num_layers)]
    outputs = []
    for t in range(len(x)):
        y = x[t]
        for layer in range(net.num_layers):
            new = manual_step(net, params, f"_l{layer}", y, states[layer])
            states[layer] = select(t, new, states[layer])
            y = states[layer][0]
            if masks and layer < net.num_layers - 1:
                y = y * masks[layer][t]
        outputs.append(select(t, [y])[0])
    final = [torch.stack(s) for s in zip(*states, strict=True)]
    return _in_layout(net, unbatched, torch.stack(outputs), final)


def manual_step(
    net: NetOptions, params: Params, suffix: str, x: torch.Tensor, state: Tensors
) -> Tensors:
    """One step x [B, I] → state [B, ·] in plain tensor operations, as torch documents the cells."""
    if net.mode in STEPS:
        return STEPS[net.mode](params, suffix, x, state)
    h = state[0]
    u = linear(x, params[f"weight_ih{suffix}"], params.get(f"bias_ih{suffix}"))
    v = linear(h, params[f"weight_hh{suffix}"], params.get(f"bias_hh{suffix}"))
    if net.mode == "RNN_TANH":
        return [torch.tanh(u + v)]
    if net.mode == "RNN_RELU":
        return [torch.relu(u + v)]
    if net.mode == "GRU":
        (u_r, u_z, u_n), (v_r, v_z, v_n) = u.chunk(3, -1), v.chunk(3, -1)
        r, z = torch.sigmoid(u_r + v_r), torch.sigmoid(u_z + v_z)
        n = torch.tanh(u_n + r * v_n)
        return [(1 - z) * n + z * h]
    i, f, g, o = (u + v).chunk(4, -1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    m = torch.sigmoid(o) * torch.tanh(c)
    return [linear(m, params[f"weight_hr{suffix}"]) if net.proj_size else m, c]


def _cell(
    net: NetOptions, params: Params, layer: int, direction: int
) -> Callable[[torch.Tensor, Tensors], Tensors]:
    """A function (x_t, state) → state that calls torch.nn's single-step cell, or one of STEPS."""
    suffix = f"_l{layer}" + "_reverse" * direction
    if net.mode in STEPS:
        return lambda x, state: STEPS[net.mode](params, suffix, x, state)
    names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if net.bias else [])]
    weights = {name: params[name + suffix] for name in names}
    options: dict[str, Any] = {"bias": net.bias, "device": "meta"}
    if net.mode.startswith("RNN"):
        options["nonlinearity"] = _nonlinearity(net)
    cell_class = _BLANK[f"{type(net).__name__}Cell"]
    cell = _set_parameters(
        cell_class(weights["weight_ih"].shape[1], net.hidden_size, **options), weights
    )
    if net.mode == "LSTM":
        return lambda x, state: cell(x, tuple(state))
    return lambda x, state: (cell(x, state[0]),)


def _time_major(
    net: NetOptions, x: torch.Tensor, state: Tensors | None
) -> tuple[torch.Tensor, Tensors]:
    """x as [T, B, I] and the state as [L·D, B, ·]; zeros if it is None."""
    if x.dim() == 2:
        x = x[:, None]
        state = None if state is None else [s[:, None] for s in state]
    elif net.batch_first:
        x = x.transpose(0, 1)
    return x, zero_state(net, x) if state is None else state


def _in_layout(
    net: NetOptions, unbatched: bool, x: torch.Tensor, final: Tensors
) -> tuple[torch.Tensor, Tensors]:
    """The output [T, B, ·] and the final states in the net's layout; inverts `_time_major`."""
    if unbatched:
        return x[:, 0], [s[:, 0] for s in final]
    return x.transpose(0, 1) if net.batch_first else x, final


def _select_rows(x: torch.Tensor, lengths: Sequence[int] | None) -> Callable[..., Tensors]:
    """A function (t, new, old) → tensors [B, ·]: new in the rows longer than t, old in the others.

    Where old is omitted, the other rows are 0.
    """
    if lengths is None:
        return lambda t, new, old=(): new
    ends = torch.tensor(lengths, device=x.device)
    within = (torch.arange(len(x), device=x.device)[:, None] < ends)[..., None]

    def select(t: int, new: Tensors, old: Tensors = ()) -> Tensors:
        rest = old or [torch.zeros_like(n) for n in new]
        return [torch.where(within[t], n, o) for n, o in zip(new, rest, strict=True)]

    return select
