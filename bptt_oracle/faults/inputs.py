"""Faults in the inputs of a call: x, the initial state, the lengths."""

import torch

from torch_impl.execution.calls import Call, Forward, Result, axes

from ..cases.case import Case
from .fault import fault
from .inject import Tensor, change_states, valid_mask


def _has_state(case: Case) -> bool:
    return case.state


def _has_many_states(case: Case) -> bool:
    return case.state and case.layers * (1 + case.bidirectional) > 1


def _has_padding(case: Case) -> bool:
    return len(set(case.lengths)) > 1


@fault(
    "I",
    "every layer starts from the state of the first",
    "pytorch/pytorch#95137",
    applies_to=_has_many_states,
)
def layers_start_from_the_first_state(call: Call, forward: Forward) -> Result:
    return forward(change_states(call, lambda s: s[:1].expand_as(s)))


@fault(
    "I",
    "the reverse direction starts from the forward direction's state",
    applies_to=lambda c: c.state and c.bidirectional,
)
def reverse_starts_from_the_forward_state(call: Call, forward: Forward) -> Result:
    return forward(change_states(call, lambda s: s[::2].repeat_interleave(2, 0)))


@fault(
    "I",
    "the state is read direction by direction, not layer by layer",
    applies_to=lambda c: c.state and c.bidirectional and c.layers > 1,
)
def state_direction_major(call: Call, forward: Forward) -> Result:
    L = call.net.num_layers
    return forward(
        change_states(call, lambda s: torch.unflatten(s, 0, (2, L)).transpose(0, 1).flatten(0, 1))
    )


@fault("I", "the initial state is ignored", applies_to=_has_state)
def state_ignored(call: Call, forward: Forward) -> Result:
    return forward(call._replace(state=None))


@fault("I", "c_0 is ignored", cells=("LSTM",), applies_to=_has_state)
def c_0_ignored(call: Call, forward: Forward) -> Result:
    h, c = call.state or []
    return forward(call._replace(state=[h, 0 * c]))


@fault("I", "h_0 is ignored, c_0 is used", cells=("LSTM",), applies_to=_has_state)
def h_0_ignored(call: Call, forward: Forward) -> Result:
    h, c = call.state or []
    return forward(call._replace(state=[0 * h, c]))


@fault(
    "I",
    "packed data is read row by row instead of step by step",
    "pytorch/pytorch#95118",
    applies_to=lambda c: bool(c.lengths) and c.B > 1 and c.T > 1,
)
def packed_data_batch_major(call: Call, forward: Forward) -> Result:
    lengths = call.lengths or ()
    order = sorted(range(len(lengths)), key=lambda b: -lengths[b])
    step_by_step = [(t, b) for t in range(max(lengths)) for b in order if t < lengths[b]]
    row_by_row = [(t, b) for b in order for t in range(lengths[b])]
    x = torch.zeros_like(call.x)
    data = torch.stack([call.x[index] for index in step_by_step])
    t, b = (torch.tensor(axis) for axis in zip(*row_by_row, strict=True))
    return forward(call._replace(x=x.index_put((t, b), data)))


@fault(
    "I",
    "a batch is read as if its first two axes were swapped in memory",
    applies_to=lambda c: c.B > 1 and c.T > 1,
)
def input_axes_swapped_in_memory(call: Call, forward: Forward) -> Result:
    return forward(call._replace(x=call.x.transpose(0, 1).reshape(call.x.shape)))


@fault(
    "I",
    "an unsorted pack permutes h_0 but not c_0",
    "mlverse/torch#499",
    cells=("LSTM",),
    applies_to=lambda c: c.layout == "packed" and c.state,
)
def c_0_not_permuted(call: Call, forward: Forward) -> Result:
    h, c = call.state or []
    return forward(call._replace(state=[h, c.index_select(1, _sorted_positions(call))]))


@fault(
    "I",
    "an unsorted pack does not permute the state",
    applies_to=lambda c: c.layout == "packed" and c.state,
)
def state_not_permuted(call: Call, forward: Forward) -> Result:
    return forward(change_states(call, lambda s: s.index_select(1, _sorted_positions(call))))


def _sorted_positions(call: Call) -> Tensor:
    """The index of each row in the order of descending lengths."""
    order = torch.argsort(torch.tensor(call.lengths), descending=True, stable=True)
    return torch.argsort(order)


@fault(
    "I",
    "the last step of shorter rows is not run",
    applies_to=lambda c: any(1 < n < c.T for n in c.lengths),
)
def lengths_one_short(call: Call, forward: Forward) -> Result:
    lengths = call.lengths or ()
    shorter = tuple(n - 1 if 1 < n < max(lengths) else n for n in lengths)
    return forward(call._replace(lengths=shorter))


@fault("I", "padding is run like data, then removed from the output", applies_to=_has_padding)
def padding_is_run(call: Call, forward: Forward) -> Result:
    output, final = forward(call._replace(lengths=None))
    return torch.where(valid_mask(call), output, torch.zeros_like(output)), final


@fault(
    "I",
    "the reverse direction starts in the padding",
    applies_to=lambda c: c.bidirectional and _has_padding(c),
)
def reverse_starts_in_the_padding(call: Call, forward: Forward) -> Result:
    correct, final = forward(call)
    wrong, wrong_final = forward(call._replace(lengths=None))
    forward_half, reverse_half = correct.chunk(2, -1)[0], wrong.chunk(2, -1)[1]
    reverse_half = torch.where(valid_mask(call), reverse_half, 0 * reverse_half)
    return torch.cat([forward_half, reverse_half], -1), [
        torch.stack([f[0::2], r[1::2]], 1).flatten(0, 1)
        for f, r in zip(final, wrong_final, strict=True)
    ]


def _read_contiguously(value: Tensor) -> Tensor:
    """Read the memory of a tensor as if the tensor were contiguous."""
    strides = torch.empty(value.shape).stride()
    return value.as_strided(value.shape, strides)


@fault(
    "I", "a non-contiguous input is read as if it were contiguous", applies_to=lambda c: c.strided
)
def input_read_contiguously(call: Call, forward: Forward) -> Result:
    return forward(call._replace(x=_read_contiguously(call.x)))


@fault(
    "I",
    "a non-contiguous state is read as if it were contiguous",
    applies_to=lambda c: c.strided and c.state,
)
def state_read_contiguously(call: Call, forward: Forward) -> Result:
    return forward(change_states(call, _read_contiguously))


@fault(
    "I",
    "rows after the fourth are computed from the first row's input",
    applies_to=lambda c: c.B > 4,
)
def tail_of_the_batch(call: Call, forward: Forward) -> Result:
    batch = axes(call)[1] or 0
    rows = torch.arange(call.x.shape[batch])
    return forward(call._replace(x=call.x.index_select(batch, torch.where(rows < 4, rows, 0))))


@fault(
    "I",
    "the steps of an unbatched sequence are treated as the rows of a batch",
    applies_to=lambda c: c.layout == "unbatched" and c.T > 1,
)
def unbatched_steps_are_rows(call: Call, forward: Forward) -> Result:
    T = len(call.x)
    state = call.state and [s[:, None].expand(-1, T, -1) for s in call.state]
    batch_first = call.net.batch_first
    x = call.x[:, None] if batch_first else call.x[None]
    output, final = forward(call._replace(x=x, state=state))
    return output[:, 0] if batch_first else output[0], [f[:, -1] for f in final]


@fault(
    "I",
    "a batch with as many rows as steps is transposed",
    applies_to=lambda c: c.T == c.B > 1,
)
def square_batch_turned(call: Call, forward: Forward) -> Result:
    return forward(call._replace(x=call.x.transpose(0, 1)))


@fault(
    "I",
    "rows of equal length are permuted in the state, but not in the data",
    applies_to=lambda c: c.layout == "packed" and c.state and len(set(c.lengths)) < c.B,
)
def ties_permuted_in_the_state(call: Call, forward: Forward) -> Result:
    lengths = torch.tensor(call.lengths)
    ties_first_to_last = torch.argsort(lengths, stable=True)
    ties_last_to_first = len(lengths) - 1 - torch.argsort(lengths.flip(0), stable=True)
    order = torch.empty_like(lengths).scatter(0, ties_first_to_last, ties_last_to_first)
    return forward(change_states(call, lambda s: s.index_select(1, order)))


@fault("I", "each step reads the input of the previous step", applies_to=lambda c: c.T > 1)
def input_one_step_late(call: Call, forward: Forward) -> Result:
    return forward(call._replace(x=call.x.roll(1, axes(call)[0])))


@fault("I", "the last feature of the input is replaced by zero")
def last_feature_dropped(call: Call, forward: Forward) -> Result:
    mask = torch.ones(call.x.shape[-1], dtype=call.x.dtype)
    mask[-1] = 0
    return forward(call._replace(x=call.x * mask))
