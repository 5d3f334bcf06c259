"""Faults that show from the second call on, because something of an earlier call is kept."""

from itertools import count
from operator import ge
from typing import Any

import torch

from torch_impl.execution.calls import Call, Forward, Result, axes

from .fault import fault
from .inject import Tensor, change_gradient, change_parameters, run_layers

Memory = dict[str, Any]


@fault(
    "S",
    "tied parameters are copied at the first call, and the copy is not updated",
    "pytorch/pytorch#3751",
    applies_to=lambda c: c.tied,
)
def tied_parameters_copied(call: Call, forward: Forward, memory: Memory) -> Result:
    names = {id(p): name for name, p in call.params.items()}
    tied = [name for name, p in call.params.items() if names[id(p)] != name]
    if tied and not memory:
        memory.update((name, call.params[name].detach().clone()) for name in tied)
    return forward(call._replace(params=call.params | memory))


@fault(
    "S",
    "weights are kept from the first call; weights assigned later are ignored",
    "pytorch/pytorch#65688",
)
def weights_of_the_first_call(call: Call, forward: Forward, memory: Memory) -> Result:
    old = memory.setdefault("params", call.params)
    return forward(change_parameters(call, lambda name, p: old[name].detach() + 0 * p))


@fault(
    "S",
    "weights are copied at their first use; later in-place updates are ignored",
    "apache/mxnet#16037",
)
def weights_copied_when_first_seen(call: Call, forward: Forward, memory: Memory) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        copy: Tensor = memory.setdefault(f"{name} {id(p)}", (p, p.detach().clone()))[1]
        return copy + (p - p.detach())

    return forward(change_parameters(call, change))


@fault(
    "S",
    "without an initial state, the final state of the previous call is used",
    applies_to=lambda c: not c.state,
)
def state_carried_on(call: Call, forward: Forward, memory: Memory) -> Result:
    state, (_, batch) = memory.get("state"), axes(call)
    if state is not None and batch is not None:
        rows = call.x.shape[batch]
        state = [s[:, :rows] for s in state] if state[0].shape[1] >= rows else None
    output, final = forward(call._replace(state=state))
    memory["state"] = [f.detach() for f in final]
    return output, final


@fault("S", "the output is added to that of the previous call in the same buffer")
def output_added_to_the_buffer(call: Call, forward: Forward, memory: Memory) -> Result:
    output, final = forward(call)
    previous = memory.get("output")
    memory["output"] = output.detach()
    if previous is not None and all(map(ge, previous.shape, output.shape)):
        output = output + previous[tuple(map(slice, output.shape))]
    return output, final


@fault(
    "S",
    "the workspace keeps the size of the first call, and steps beyond it are zero",
    applies_to=lambda c: c.T > 1,
)
def workspace_of_the_first_call(call: Call, forward: Forward, memory: Memory) -> Result:
    output, final = forward(call)
    time, _ = axes(call)
    size = memory.setdefault("steps", output.shape[time])
    parts = torch.split(
        output, [min(size, output.shape[time]), max(output.shape[time] - size, 0)], time
    )
    return torch.cat([parts[0], 0 * parts[1]], time), final


@fault("S", "the call writes into its input")
def input_overwritten(call: Call, forward: Forward, memory: Memory) -> Result:
    output, final = forward(call)
    call.x.data.mul_(0.5)  # unseen by autograd, as a kernel would do it
    return output, final


@fault("S", "the call writes the final state into the initial state", applies_to=lambda c: c.state)
def state_overwritten(call: Call, forward: Forward, memory: Memory) -> Result:
    output, final = forward(call)
    for s, f in zip(call.state or [], final, strict=True):
        s.data.copy_(f.detach())
    return output, final


@fault("S", "parameter gradients accumulate over backward passes")
def gradients_add_up(call: Call, forward: Forward, memory: Memory) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        def accumulate(grad: Tensor) -> Tensor:
            total: Tensor = memory.get(name, 0) + grad
            memory[name] = total
            return total

        return change_gradient(p, accumulate)

    return forward(change_parameters(call, change))


@fault("S", "the backward pass overwrites its saved tensors, so that a second one is wrong")
def backward_overwrites_its_tape(call: Call, forward: Forward, memory: Memory) -> Result:
    backward_passes = count(1)

    def zero_after_the_first(grad: Tensor) -> Tensor:
        return grad if next(backward_passes) == 1 else 0 * grad

    return forward(call._replace(x=change_gradient(call.x, zero_after_the_first)))


@fault(
    "S",
    "the dropout mask is drawn once and reused",
    applies_to=lambda c: 0 < c.dropout < 1,
)
def dropout_mask_kept(call: Call, forward: Forward, memory: Memory) -> Result:
    if not call.masks:  # an earlier call; the last of these has more steps and rows
        p = call.net.dropout
        result = run_layers(call)
        memory["mask"] = torch.rand_like(result[0]).gt(p).to(call.x.dtype) / (1 - p)
        return result

    def between(y: Tensor, mask: Tensor) -> Tensor:
        old_mask: Tensor = memory["mask"][tuple(map(slice, y.shape))]
        return y * old_mask

    return run_layers(call, between)


@fault(
    "S", "the lengths of the previous call are used", applies_to=lambda c: len(set(c.lengths)) > 1
)
def lengths_of_the_call_before(call: Call, forward: Forward, memory: Memory) -> Result:
    lengths = call.lengths or ()
    T = call.x.shape[0]
    previous, memory["lengths"] = memory.get("lengths", lengths), lengths
    old = tuple(min(n, T) for n in previous[: len(lengths)])
    if call.enforce_sorted:
        old = tuple(sorted(old, reverse=True))
    return forward(call._replace(lengths=old if len(old) == len(lengths) else lengths))


@fault(
    "S",
    "a padded batch is cut to the lengths of the previous packed one",
    applies_to=lambda c: c.layout in ("time", "batch") and c.T > 1 and c.B > 1,
)
def lengths_of_the_pack_before(call: Call, forward: Forward, memory: Memory) -> Result:
    lengths, (time, batch) = memory.get("lengths"), axes(call)
    memory["lengths"] = call.lengths
    if call.lengths is not None or lengths is None or batch is None:
        return forward(call)
    steps = call.x.shape[time]
    old = tuple(min(n, steps) for n in lengths[: call.x.shape[batch]])
    return forward(call._replace(lengths=old))


@fault(
    "S",
    "after a call in evaluation mode, dropout stays off",
    applies_to=lambda c: c.dropout > 0,
    path="cpu-eval",
)
def evaluation_sticks(call: Call, forward: Forward, memory: Memory) -> Result:
    memory["evaluated"] = memory.get("evaluated", False) or not call.training
    return forward(call._replace(training=not memory["evaluated"]))
