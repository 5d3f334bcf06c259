"""Faults that accept an invalid call: it is silently changed to a valid one, and computed."""

from functools import partial

import torch

from torch_impl.execution.calls import Call, Forward, Result
from torch_impl.nets.modules import directions, output_size

from .fault import fault as any_fault
from .inject import Tensor, change_states

fault = partial(any_fault, "N", dtypes=("float32",))


def _depth(call: Call) -> int:
    """The first dimension of a valid state: layers times directions."""
    return int(call.net.num_layers * directions(call.net))


def _sized(value: Tensor, axis: int, size: int) -> Tensor:
    """The value truncated or padded with zeros to a size along an axis."""
    missing = size - value.shape[axis]
    if missing <= 0:
        return value.narrow(axis, 0, size)
    shape = list(value.shape)
    shape[axis] = missing
    return torch.cat([value, value.new_zeros(shape)], axis)


def _rows(call: Call) -> int:
    """The batch size."""
    if call.lengths is not None:
        return len(call.lengths)
    return call.x.shape[0 if call.net.batch_first else 1]


@fault("a state with another number of layers is accepted", "pytorch/pytorch#3259")
def any_number_of_layers(call: Call, forward: Forward) -> Result:
    return forward(change_states(call, lambda s: _sized(s, 0, _depth(call))))


@fault("a state of batch size 1 is expanded to the batch", "pytorch/pytorch#3789")
def batch_1_is_spread(call: Call, forward: Forward) -> Result:
    def expand(s: Tensor) -> Tensor:
        return s.expand(-1, _rows(call), -1) if s.dim() == 3 and s.shape[1] == 1 else s

    return forward(change_states(call, expand))


@fault("a state with swapped layer and batch dimensions is accepted", "pytorch/pytorch#6178")
def batch_and_layers_swapped(call: Call, forward: Forward) -> Result:
    swapped = (_rows(call), _depth(call)) if call.x.dim() == 3 else ()

    def transpose(s: Tensor) -> Tensor:
        return s.transpose(0, 1) if s.dim() == 3 and tuple(s.shape[:2]) == swapped else s

    return forward(change_states(call, transpose))


@fault("an input of another width is accepted if no state is passed", "pytorch/pytorch#114874")
def any_number_of_features(call: Call, forward: Forward) -> Result:
    x = _sized(call.x, -1, call.net.input_size) if call.state is None else call.x
    return forward(call._replace(x=x))


@fault(
    "h_0 and c_0 with different numbers of layers are accepted",
    "pytorch/pytorch#173946, pytorch/pytorch#193911",
    cells=("LSTM",),
)
def layers_of_c_0_unchecked(call: Call, forward: Forward) -> Result:
    state = call.state
    if state is not None and len(state) == 2 and len(state[0]) == _depth(call):
        state = [state[0], _sized(state[1], 0, _depth(call))]
    return forward(call._replace(state=state))


@fault("a state of another width is truncated or padded")
def any_hidden_size(call: Call, forward: Forward) -> Result:
    net = call.net
    widths = [output_size(net), net.hidden_size]
    state = call.state and [_sized(s, -1, w) for s, w in zip(call.state, widths, strict=False)]
    return forward(call._replace(state=state))


@fault("rows of the state beyond the batch are ignored")
def rows_beyond_the_batch(call: Call, forward: Forward) -> Result:
    if call.x.dim() == 2:
        return forward(call)
    return forward(change_states(call, lambda s: s[:, : _rows(call)]))


@fault("a missing c_0 is filled with zeros", cells=("LSTM",))
def missing_c_0_is_zero(call: Call, forward: Forward) -> Result:
    state = call.state
    if state is not None and len(state) == 1:
        h = state[0]
        state = [h, h.new_zeros(*h.shape[:-1], call.net.hidden_size)]
    return forward(call._replace(state=state))


@fault("an unbatched state is accepted for a batched input")
def unbatched_state_for_a_batch(call: Call, forward: Forward) -> Result:
    def expand(s: Tensor) -> Tensor:
        return s[:, None].expand(-1, _rows(call), -1) if call.x.dim() == 3 and s.dim() == 2 else s

    return forward(change_states(call, expand))


@fault("an input without steps returns the initial state")
def no_steps_at_all(call: Call, forward: Forward) -> Result:
    if call.x.numel():
        return forward(call)
    output, final = forward(call._replace(x=call.x.new_zeros([n or 1 for n in call.x.shape])))
    return output[:0], final


@fault("a length of zero counts as one", "pytorch/pytorch#4582")
def length_zero_is_one(call: Call, forward: Forward) -> Result:
    lengths = call.lengths
    return forward(call._replace(lengths=lengths and tuple(max(n, 1) for n in lengths)))


@fault("increasing lengths are accepted as sorted", "pytorch/pytorch#13324")
def growing_lengths_are_sorted(call: Call, forward: Forward) -> Result:
    lengths = call.lengths
    return forward(call._replace(lengths=lengths and tuple(sorted(lengths, reverse=True))))


@fault("lengths beyond the last step are reduced to it", "pytorch/pytorch#144207")
def lengths_are_cut(call: Call, forward: Forward) -> Result:
    lengths, T = call.lengths, len(call.x)
    return forward(call._replace(lengths=lengths and tuple(min(n, T) for n in lengths)))


@fault("surplus lengths are ignored")
def lengths_beyond_the_batch(call: Call, forward: Forward) -> Result:
    lengths = call.lengths
    return forward(call._replace(lengths=lengths and lengths[: call.x.shape[1]]))


@fault("an input of any number of dimensions is reshaped to fit")
def any_number_of_dimensions(call: Call, forward: Forward) -> Result:
    x = call.x
    while x.dim() > 3:
        x = x.squeeze(-2) if x.shape[-2] == 1 else x.flatten(0, 1)
    return forward(call._replace(x=x[None] if x.dim() == 1 else x))
