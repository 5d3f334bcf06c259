"""A net run by torch.nn's modules, by a loop of cells, and by a manual stack.

All three take tensors and give the padded output [T, B, D·H] (in the net's layout) and the final
states; each is differentiable. The module is nn.RNN, nn.GRU or nn.LSTM. The other two write the
recurrence out: the loop of cells layer by layer, the manual stack with time outside and the layers
inside, as the documentation of nn.RNN sketches it, but out of place, so that autograd can follow.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import linear
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Tensors = Sequence[torch.Tensor]
Params = Mapping[str, torch.Tensor]

# torch.nn's classes, but that they draw no weights when made: those are replaced at once
_BLANK: dict[str, Any] = {
    name: type(name, (getattr(torch.nn, name),), {"reset_parameters": lambda self: None})
    for name in ("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell")
}


def call_module(
    module: Callable[..., Any],
    net: Any,
    x: torch.Tensor,
    lengths: Sequence[int] | None,
    enforce_sorted: bool,
    state: Tensors | None,
) -> tuple[torch.Tensor, Tensors]:
    """A module of torch.nn called; packed on the way in and padded on the way out."""
    given = None if state is None else (tuple(state) if net.mode == "LSTM" else state[0])
    packed: Any = x
    if lengths is not None:
        packed = pack_padded_sequence(x, torch.tensor(lengths), net.batch_first, enforce_sorted)
    output, final = module(packed, given)
    if lengths is not None:
        output, _ = pad_packed_sequence(output, net.batch_first)
    return output, final if net.mode == "LSTM" else (final,)


def new_module(net: Any, params: Params) -> torch.nn.Module:
    """nn.RNN, nn.GRU or nn.LSTM of the same configuration over these very parameters."""
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
        options["nonlinearity"] = net.nonlinearity
    kind = _BLANK[type(net).__name__]
    return _with(kind(net.input_size, net.hidden_size, **options), params)


def _with(module: torch.nn.Module, params: Params) -> torch.nn.Module:
    """The module, its parameters replaced."""
    for name, value in params.items():
        setattr(module, name, value)
    if isinstance(module, torch.nn.RNNBase):
        module.flatten_parameters()
    return module


def loop_of_cells(
    net: Any,
    params: Params,
    x: torch.Tensor,
    lengths: Sequence[int] | None,
    masks: Tensors,
    state: Tensors | None,
    cell: Callable[..., Callable[[torch.Tensor, Tensors], Tensors]] | None = None,
) -> tuple[torch.Tensor, Tensors]:
    """nn.RNNCell, nn.GRUCell or nn.LSTMCell, or another `cell`, stepped over time, layer after
    layer."""
    unbatched = x.dim() == 2
    x, before = _time_major(net, x, state)
    alive = _alive(x, lengths)
    D, final = 1 + net.bidirectional, []
    for layer in range(net.num_layers):
        halves = []
        for direction in range(D):
            step = (cell or _cell)(net, params, layer, direction)
            h: Tensors = [s[layer * D + direction] for s in before]
            outputs = [x.new_zeros(0)] * len(x)
            for t in reversed(range(len(x))) if direction else range(len(x)):
                h = alive(t, step(x[t], h), h)
                outputs[t] = alive(t, h[:1])[0]
            halves.append(torch.stack(outputs))
            final.append(h)
        x = torch.cat(halves, dim=-1)
        if masks and layer < net.num_layers - 1:
            x = x * masks[layer]
    return _as_given(net, unbatched, x, [torch.stack(s) for s in zip(*final, strict=True)])


def manual_stack(
    net: Any,
    params: Params,
    x: torch.Tensor,
    lengths: Sequence[int] | None,
    masks: Tensors,
    state: Tensors | None,
) -> tuple[torch.Tensor, Tensors]:
    """Time outside, layer inside: possible in one direction only."""
    unbatched = x.dim() == 2
    x, before = _time_major(net, x, state)
    alive = _alive(x, lengths)
    now: list[Tensors] = [[s[layer] for s in before] for layer in range(net.num_layers)]
    outputs = []
    for t in range(len(x)):
        y = x[t]
        for layer in range(net.num_layers):
            new = manual_step(net, params, f"_l{layer}", y, now[layer])
            now[layer] = alive(t, new, now[layer])
            y = now[layer][0]
            if masks and layer < net.num_layers - 1:
                y = y * masks[layer][t]
        outputs.append(alive(t, [y])[0])
    final = [torch.stack(s) for s in zip(*now, strict=True)]
    return _as_given(net, unbatched, torch.stack(outputs), final)


def manual_step(net: Any, params: Params, suffix: str, x: torch.Tensor, state: Tensors) -> Tensors:
    """One step in plain tensor operations, as torch documents the three cells."""
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
    net: Any, params: Params, layer: int, direction: int
) -> Callable[[torch.Tensor, Tensors], Tensors]:
    """A function (x_t, state) → state that calls torch.nn's single-step cell."""
    suffix = f"_l{layer}" + "_reverse" * direction
    names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if net.bias else [])]
    weights = {name: params[name + suffix] for name in names}
    options: dict[str, Any] = {"bias": net.bias, "device": "meta"}
    if net.mode.startswith("RNN"):
        options["nonlinearity"] = net.nonlinearity
    kind = _BLANK[f"{type(net).__name__}Cell"]
    cell = _with(kind(weights["weight_ih"].shape[1], net.hidden_size, **options), weights)
    if net.mode == "LSTM":
        return lambda x, state: cell(x, tuple(state))
    return lambda x, state: (cell(x, state[0]),)


def _time_major(net: Any, x: torch.Tensor, state: Tensors | None) -> tuple[torch.Tensor, Tensors]:
    """x as [T, B, I] and the states as [L·D, B, ·], zeros where none are given."""
    if x.dim() == 2:
        x = x[:, None]
        state = None if state is None else [s[:, None] for s in state]
    elif net.batch_first:
        x = x.transpose(0, 1)
    if state is None:
        L = net.num_layers * (1 + net.bidirectional)
        widths = [net.proj_size or net.hidden_size, net.hidden_size][: 1 + (net.mode == "LSTM")]
        state = [x.new_zeros(L, x.shape[1], width) for width in widths]
    return x, state


def _as_given(
    net: Any, unbatched: bool, x: torch.Tensor, final: Tensors
) -> tuple[torch.Tensor, Tensors]:
    """The inverse of `_time_major` for output and final states."""
    if unbatched:
        return x[:, 0], [s[:, 0] for s in final]
    return x.transpose(0, 1) if net.batch_first else x, final


def _alive(x: torch.Tensor, lengths: Sequence[int] | None) -> Callable[..., Tensors]:
    """A function (t, new, old) → new in the rows that step t lies within, in the others old, or 0
    where none is given."""
    if lengths is None:
        return lambda t, new, old=(): new
    ends = torch.tensor(lengths, device=x.device)
    within = (torch.arange(len(x), device=x.device)[:, None] < ends)[..., None]

    def alive(t: int, new: Tensors, old: Tensors = ()) -> Tensors:
        rest = old or [torch.zeros_like(n) for n in new]
        return [torch.where(within[t], n, o) for n, o in zip(new, rest, strict=True)]

    return alive
