"""Faults in the outputs of a call: output, h_n, c_n."""

import torch

from torch_impl.execution.calls import Call, Forward, Result, axes
from torch_impl.nets.modules import directions

from ..cases.case import Case
from .fault import fault
from .inject import in_output_layout, valid_mask


def _bidirectional(case: Case) -> bool:
    return case.bidirectional


def _dense(case: Case) -> bool:
    return not case.lengths


@fault(
    "O",
    "the two directions are interleaved unit by unit",
    "pytorch/pytorch#11368",
    applies_to=lambda c: c.bidirectional and (c.P or c.H) > 1,
)
def directions_interleaved(call: Call, forward: Forward) -> Result:
    output, final = forward(call)
    return torch.unflatten(output, -1, (2, -1)).transpose(-1, -2).flatten(-2), final


@fault("O", "the two directions are swapped", applies_to=_bidirectional)
def directions_swapped(call: Call, forward: Forward) -> Result:
    output, final = forward(call)
    return torch.cat(output.chunk(2, -1)[::-1], -1), final


@fault("O", "both directions hold the sum of the two", applies_to=_bidirectional)
def directions_summed(call: Call, forward: Forward) -> Result:
    output, final = forward(call)
    forward_half, reverse_half = output.chunk(2, -1)
    total = forward_half + reverse_half
    return torch.cat([total, total], -1), final


@fault(
    "O",
    "the reverse direction is left in reversed order of time",
    applies_to=lambda c: c.bidirectional and c.T > 1 and _dense(c),
)
def reverse_half_not_turned_back(call: Call, forward: Forward) -> Result:
    output, final = forward(call)
    forward_half, reverse_half = output.chunk(2, -1)
    return torch.cat([forward_half, reverse_half.flip(axes(call)[0])], -1), final


@fault(
    "O",
    "final states are ordered direction by direction, not layer by layer",
    applies_to=lambda c: c.bidirectional and c.layers > 1,
)
def final_states_direction_major(call: Call, forward: Forward) -> Result:
    output, final = forward(call)
    L = call.net.num_layers
    return output, [torch.unflatten(f, 0, (L, 2)).transpose(0, 1).flatten(0, 1) for f in final]


@fault(
    "O",
    "h_n is the last step of the output, which is the first step of the reverse direction",
    applies_to=lambda c: c.bidirectional and c.T > 1 and _dense(c),
)
def h_n_is_the_last_output(call: Call, forward: Forward) -> Result:
    output, (h_n, *rest) = forward(call)
    last = torch.stack(output.select(axes(call)[0], -1).chunk(2, -1))
    return output, [torch.cat([h_n[:-2], last]), *rest]


@fault(
    "O",
    "h_n of packed data is the last column of the output, which may be padding",
    applies_to=lambda c: len(set(c.lengths)) > 1 and not c.bidirectional,
)
def h_n_is_the_last_column(call: Call, forward: Forward) -> Result:
    output, (h_n, *rest) = forward(call)
    return output, [torch.cat([h_n[:-1], output[-1:]]), *rest]


@fault(
    "O",
    "h_n and c_n repeat the last layer's state for every layer",
    applies_to=lambda c: c.layers > 1,
)
def final_states_of_the_last_layer(call: Call, forward: Forward) -> Result:
    output, final = forward(call)
    D = directions(call.net)
    return output, [f[-D:].repeat(call.net.num_layers, *[1] * (f.dim() - 1)) for f in final]


@fault("O", "c_n is h_n", cells=("LSTM",), applies_to=lambda c: not c.P)
def c_n_is_h_n(call: Call, forward: Forward) -> Result:
    output, (h_n, _) = forward(call)
    return output, [h_n, h_n]


@fault(
    "O",
    "the final states of an unsorted pack stay in sorted order",
    applies_to=lambda c: c.layout == "packed" and len(set(c.lengths)) > 1,
)
def final_states_stay_sorted(call: Call, forward: Forward) -> Result:
    output, final = forward(call)
    order = torch.argsort(torch.tensor(call.lengths), descending=True, stable=True)
    return output, [f.index_select(1, order) for f in final]


@fault(
    "O",
    "c_n of an unsorted pack stays in sorted order",
    cells=("LSTM",),
    applies_to=lambda c: c.layout == "packed" and len(set(c.lengths)) > 1,
)
def c_n_stays_sorted(call: Call, forward: Forward) -> Result:
    output, (h_n, c_n) = forward(call)
    order = torch.argsort(torch.tensor(call.lengths), descending=True, stable=True)
    return output, [h_n, c_n.index_select(1, order)]


@fault("O", "dropout is applied after the last layer too", applies_to=lambda c: c.dropout > 0)
def dropout_after_the_last_layer(call: Call, forward: Forward) -> Result:
    output, final = forward(call)
    return output * in_output_layout(call, call.masks[-1]), final


@fault(
    "O",
    "padding of the output is not cleared",
    applies_to=lambda c: len(set(c.lengths)) > 1,
)
def padding_not_cleared(call: Call, forward: Forward) -> Result:
    output, final = forward(call)
    return torch.where(valid_mask(call), output, torch.full_like(output, 1e-3)), final


@fault("O", "the output at each step is that of the previous step", applies_to=lambda c: c.T > 1)
def output_one_step_late(call: Call, forward: Forward) -> Result:
    output, final = forward(call)
    return output.roll(1, axes(call)[0]), final


@fault("O", "one element of the output is wrong by a thousandth of the largest")
def one_element_of_the_output(call: Call, forward: Forward) -> Result:
    output, final = forward(call)
    error = torch.zeros(output.numel(), dtype=output.dtype)
    error[-1] = 1e-3 * output.detach().abs().max()
    return output + error.reshape(output.shape), final


@fault("O", "all steps after the eighth are wrong by a thousandth", applies_to=lambda c: c.T > 8)
def steps_beyond_the_eighth(call: Call, forward: Forward) -> Result:
    output, final = forward(call)
    time = axes(call)[0]
    first, rest = torch.split(output, [8, output.shape[time] - 8], time)
    return torch.cat([first, 1.001 * rest], time), final


@fault("O", "all rows after the eighth are wrong by a thousandth", applies_to=lambda c: c.B > 8)
def rows_beyond_the_eighth(call: Call, forward: Forward) -> Result:
    output, final = forward(call)
    batch = axes(call)[1] or 0
    first, rest = torch.split(output, [8, output.shape[batch] - 8], batch)
    return torch.cat([first, 1.001 * rest], batch), final
