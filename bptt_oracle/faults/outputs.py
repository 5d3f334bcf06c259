"""Mistakes with what comes out: output, h_n, c_n."""

import torch

from torch_impl.execution.calls import Call, Forward, Result, axes

from ..cases.case import Case
from .fault import fault
from .inject import alive, as_output


def _both(case: Case) -> bool:
    return case.bidirectional


def _dense(case: Case) -> bool:
    return not case.lengths


@fault(
    "O",
    "the two directions are interleaved unit by unit",
    "pytorch/pytorch#11368",
    where=lambda c: c.bidirectional and (c.P or c.H) > 1,
)
def directions_interleaved(call: Call, way: Forward) -> Result:
    output, final = way(call)
    return output.unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2), final


@fault("O", "the halves of the two directions are swapped", where=_both)
def directions_swapped(call: Call, way: Forward) -> Result:
    output, final = way(call)
    return torch.cat(output.chunk(2, -1)[::-1], -1), final


@fault("O", "both halves hold the sum of the directions", where=_both)
def directions_summed(call: Call, way: Forward) -> Result:
    output, final = way(call)
    forward, reverse = output.chunk(2, -1)
    total = forward + reverse
    return torch.cat([total, total], -1), final


@fault(
    "O",
    "the reverse half is not turned back in time",
    where=lambda c: c.bidirectional and c.T > 1 and _dense(c),
)
def reverse_half_not_turned_back(call: Call, way: Forward) -> Result:
    output, final = way(call)
    forward, reverse = output.chunk(2, -1)
    return torch.cat([forward, reverse.flip(axes(call)[0])], -1), final


@fault(
    "O",
    "final states come direction by direction, not layer by layer",
    where=lambda c: c.bidirectional and c.layers > 1,
)
def final_states_direction_major(call: Call, way: Forward) -> Result:
    output, final = way(call)
    L = call.net.num_layers
    return output, [f.unflatten(0, (L, 2)).transpose(0, 1).flatten(0, 1) for f in final]


@fault(
    "O",
    "h_n is the output's last step, which is the reverse direction's first",
    where=lambda c: c.bidirectional and c.T > 1 and _dense(c),
)
def h_n_is_the_last_output(call: Call, way: Forward) -> Result:
    output, (h_n, *rest) = way(call)
    last = torch.stack(output.select(axes(call)[0], -1).chunk(2, -1))
    return output, [torch.cat([h_n[:-2], last]), *rest]


@fault(
    "O",
    "h_n of packed data is the last column, padding included",
    where=lambda c: len(set(c.lengths)) > 1 and not c.bidirectional,
)
def h_n_is_the_last_column(call: Call, way: Forward) -> Result:
    output, (h_n, *rest) = way(call)
    return output, [torch.cat([h_n[:-1], output[-1:]]), *rest]


@fault("O", "h_n and c_n hold the last layer's for all", where=lambda c: c.layers > 1)
def final_states_of_the_last_layer(call: Call, way: Forward) -> Result:
    output, final = way(call)
    D = 1 + call.net.bidirectional
    return output, [f[-D:].repeat(call.net.num_layers, *[1] * (f.dim() - 1)) for f in final]


@fault("O", "c_n is h_n", cells=("LSTM",), where=lambda c: not c.P)
def c_n_is_h_n(call: Call, way: Forward) -> Result:
    output, (h_n, _) = way(call)
    return output, [h_n, h_n]


@fault(
    "O",
    "the final states of an unsorted pack stay in sorted order",
    where=lambda c: c.layout == "packed" and len(set(c.lengths)) > 1,
)
def final_states_stay_sorted(call: Call, way: Forward) -> Result:
    output, final = way(call)
    order = torch.argsort(torch.tensor(call.lengths), descending=True, stable=True)
    return output, [f.index_select(1, order) for f in final]


@fault(
    "O",
    "c_n of an unsorted pack stays in sorted order",
    cells=("LSTM",),
    where=lambda c: c.layout == "packed" and len(set(c.lengths)) > 1,
)
def c_n_stays_sorted(call: Call, way: Forward) -> Result:
    output, (h_n, c_n) = way(call)
    order = torch.argsort(torch.tensor(call.lengths), descending=True, stable=True)
    return output, [h_n, c_n.index_select(1, order)]


@fault("O", "dropout after the last layer too", where=lambda c: c.dropout > 0)
def dropout_after_the_last_layer(call: Call, way: Forward) -> Result:
    output, final = way(call)
    return output * as_output(call, call.masks[-1]), final


@fault(
    "O",
    "padding of the output holds what was in the buffer",
    where=lambda c: len(set(c.lengths)) > 1,
)
def padding_not_cleared(call: Call, way: Forward) -> Result:
    output, final = way(call)
    return torch.where(alive(call), output, torch.full_like(output, 1e-3)), final


@fault("O", "the output at each step is the state before it", where=lambda c: c.T > 1)
def output_one_step_late(call: Call, way: Forward) -> Result:
    output, final = way(call)
    return output.roll(1, axes(call)[0]), final


@fault("O", "one element of the output is off by a thousandth")
def one_element_of_the_output(call: Call, way: Forward) -> Result:
    output, final = way(call)
    off = torch.zeros(output.numel(), dtype=output.dtype)
    off[-1] = 1e-3 * output.detach().abs().max()
    return output + off.reshape(output.shape), final


@fault("O", "the ninth step and all after it are off by a thousandth", where=lambda c: c.T > 8)
def steps_beyond_the_eighth(call: Call, way: Forward) -> Result:
    output, final = way(call)
    time = axes(call)[0]
    first, rest = output.split([8, output.shape[time] - 8], time)
    return torch.cat([first, 1.001 * rest], time), final


@fault("O", "the ninth row and all after it are off by a thousandth", where=lambda c: c.B > 8)
def rows_beyond_the_eighth(call: Call, way: Forward) -> Result:
    output, final = way(call)
    batch = axes(call)[1] or 0
    first, rest = output.split([8, output.shape[batch] - 8], batch)
    return torch.cat([first, 1.001 * rest], batch), final
