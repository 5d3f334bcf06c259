"""Mistakes with what goes in: the input, the state, the lengths."""

import torch

from torch_impl.execution.calls import Call, Forward, Result, axes

from ..cases.case import Case
from .fault import fault
from .inject import Tensor, alive, states


def _given(case: Case) -> bool:
    return case.state


def _several_states(case: Case) -> bool:
    return case.state and case.layers * (1 + case.bidirectional) > 1


def _uneven(case: Case) -> bool:
    return len(set(case.lengths)) > 1


@fault(
    "I",
    "every layer starts from the state of the first",
    "pytorch/pytorch#95137",
    where=_several_states,
)
def layers_start_from_the_first_state(call: Call, way: Forward) -> Result:
    return way(states(call, lambda s: s[:1].expand_as(s)))


@fault(
    "I",
    "the reverse direction starts from the forward direction's state",
    where=lambda c: c.state and c.bidirectional,
)
def reverse_starts_from_the_forward_state(call: Call, way: Forward) -> Result:
    return way(states(call, lambda s: s[::2].repeat_interleave(2, 0)))


@fault(
    "I",
    "the state is read direction by direction, not layer by layer",
    where=lambda c: c.state and c.bidirectional and c.layers > 1,
)
def state_direction_major(call: Call, way: Forward) -> Result:
    L = call.net.num_layers
    return way(states(call, lambda s: s.unflatten(0, (2, L)).transpose(0, 1).flatten(0, 1)))


@fault("I", "the given state is ignored", where=_given)
def state_ignored(call: Call, way: Forward) -> Result:
    return way(call._replace(state=None))


@fault("I", "c_0 is ignored", cells=("LSTM",), where=_given)
def c_0_ignored(call: Call, way: Forward) -> Result:
    h, c = call.state or []
    return way(call._replace(state=[h, 0 * c]))


@fault("I", "h_0 is ignored, c_0 is not", cells=("LSTM",), where=_given)
def h_0_ignored(call: Call, way: Forward) -> Result:
    h, c = call.state or []
    return way(call._replace(state=[0 * h, c]))


@fault(
    "I",
    "packed data is read row by row instead of step by step, which one row cannot show",
    "pytorch/pytorch#95118",
    where=lambda c: bool(c.lengths) and c.B > 1 and c.T > 1,
)
def packed_data_batch_major(call: Call, way: Forward) -> Result:
    lengths = call.lengths or ()
    order = sorted(range(len(lengths)), key=lambda b: -lengths[b])
    lies = [(t, b) for t in range(max(lengths)) for b in order if t < lengths[b]]
    read = [(t, b) for b in order for t in range(lengths[b])]
    x = torch.zeros_like(call.x)
    data = torch.stack([call.x[place] for place in lies])
    t, b = (torch.tensor(axis) for axis in zip(*read, strict=True))
    return way(call._replace(x=x.index_put((t, b), data)))


@fault(
    "I",
    "a batch is read as though its first two axes lay the other way round in memory",
    where=lambda c: c.B > 1 and c.T > 1,
)
def input_axes_swapped_in_memory(call: Call, way: Forward) -> Result:
    return way(call._replace(x=call.x.transpose(0, 1).reshape(call.x.shape)))


@fault(
    "I",
    "an unsorted pack permutes h_0 but not c_0",
    "mlverse/torch#499",
    cells=("LSTM",),
    where=lambda c: c.layout == "packed" and c.state,
)
def c_0_not_permuted(call: Call, way: Forward) -> Result:
    h, c = call.state or []
    return way(call._replace(state=[h, c.index_select(1, _unsorted(call))]))


@fault(
    "I",
    "an unsorted pack does not permute the state",
    where=lambda c: c.layout == "packed" and c.state,
)
def state_not_permuted(call: Call, way: Forward) -> Result:
    return way(states(call, lambda s: s.index_select(1, _unsorted(call))))


def _unsorted(call: Call) -> Tensor:
    """Where each row stands among the sorted ones."""
    order = torch.argsort(torch.tensor(call.lengths), descending=True, stable=True)
    return torch.argsort(order)


@fault(
    "I",
    "the last step of shorter rows is never run",
    where=lambda c: any(1 < n < c.T for n in c.lengths),
)
def lengths_one_short(call: Call, way: Forward) -> Result:
    lengths = call.lengths or ()
    shorter = tuple(n - 1 if 1 < n < max(lengths) else n for n in lengths)
    return way(call._replace(lengths=shorter))


@fault("I", "padding is run as though it were data, then cut from the output", where=_uneven)
def padding_is_run(call: Call, way: Forward) -> Result:
    output, final = way(call._replace(lengths=None))
    return torch.where(alive(call), output, torch.zeros_like(output)), final


@fault(
    "I",
    "the reverse direction starts in the padding",
    where=lambda c: c.bidirectional and _uneven(c),
)
def reverse_starts_in_the_padding(call: Call, way: Forward) -> Result:
    right, final = way(call)
    wrong, last = way(call._replace(lengths=None))
    forward, reverse = right.chunk(2, -1)[0], wrong.chunk(2, -1)[1]
    output = torch.cat([forward, torch.where(alive(call), reverse, 0 * reverse)], -1)
    halves = zip(final, last, strict=True)
    return output, [torch.stack([f[0::2], r[1::2]], 1).flatten(0, 1) for f, r in halves]


def _contiguously(value: Tensor) -> Tensor:
    """The memory of a tensor read as though it were contiguous."""
    strides = torch.empty(value.shape).stride()
    return value.as_strided(value.shape, strides)


@fault("I", "an input that is not contiguous is read as if it were", where=lambda c: c.strided)
def input_read_contiguously(call: Call, way: Forward) -> Result:
    return way(call._replace(x=_contiguously(call.x)))


@fault(
    "I",
    "a state that is not contiguous is read as if it were",
    where=lambda c: c.strided and c.state,
)
def state_read_contiguously(call: Call, way: Forward) -> Result:
    return way(states(call, _contiguously))


@fault("I", "rows beyond the fourth are computed from the first", where=lambda c: c.B > 4)
def tail_of_the_batch(call: Call, way: Forward) -> Result:
    batch = axes(call)[1] or 0
    rows = torch.arange(call.x.shape[batch])
    return way(call._replace(x=call.x.index_select(batch, torch.where(rows < 4, rows, 0))))


@fault(
    "I",
    "the steps of an unbatched sequence are taken for the rows of a batch",
    where=lambda c: c.layout == "unbatched" and c.T > 1,
)
def unbatched_steps_are_rows(call: Call, way: Forward) -> Result:
    T = len(call.x)
    state = call.state and [s[:, None].expand(-1, T, -1) for s in call.state]
    first = call.net.batch_first
    x = call.x[:, None] if first else call.x[None]
    output, final = way(call._replace(x=x, state=state))
    return output[:, 0] if first else output[0], [f[:, -1] for f in final]


@fault(
    "I",
    "a batch of as many rows as steps is taken to lie the other way round",
    where=lambda c: c.T == c.B > 1,
)
def square_batch_turned(call: Call, way: Forward) -> Result:
    return way(call._replace(x=call.x.transpose(0, 1)))


@fault(
    "I",
    "rows of equal length change places in the state, not in the data",
    where=lambda c: c.layout == "packed" and c.state and len(set(c.lengths)) < c.B,
)
def ties_permuted_in_the_state(call: Call, way: Forward) -> Result:
    lengths = torch.tensor(call.lengths)
    one_way = torch.argsort(lengths, stable=True)
    other_way = len(lengths) - 1 - torch.argsort(lengths.flip(0), stable=True)
    order = torch.empty_like(one_way).scatter(0, one_way, other_way)
    return way(states(call, lambda s: s.index_select(1, order)))


@fault("I", "each step reads the input of the step before", where=lambda c: c.T > 1)
def input_one_step_late(call: Call, way: Forward) -> Result:
    return way(call._replace(x=call.x.roll(1, axes(call)[0])))


@fault("I", "the last feature of the input is dropped")
def last_feature_dropped(call: Call, way: Forward) -> Result:
    kept = torch.ones(call.x.shape[-1], dtype=call.x.dtype)
    kept[-1] = 0
    return way(call._replace(x=call.x * kept))
