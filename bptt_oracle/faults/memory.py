"""Mistakes that show from the second call on: something of an earlier call is kept."""

from operator import ge
from typing import Any

import torch

from torch_impl.execution.calls import Call, Forward, Result, axes

from .fault import fault
from .inject import Tensor, backward, layer_by_layer, weights

Memory = dict[str, Any]


@fault(
    "S",
    "parameters under two names are copied: the first name's copy is never updated",
    "pytorch/pytorch#3751",
    where=lambda c: c.tied,
)
def tied_parameters_copied(call: Call, way: Forward, memory: Memory) -> Result:
    names = {id(p): name for name, p in call.params.items()}
    twice = [name for name, p in call.params.items() if names[id(p)] != name]
    if twice and not memory:
        memory.update((name, call.params[name].detach().clone()) for name in twice)
    return way(call._replace(params=call.params | memory))


@fault(
    "S",
    "weights are kept from the first call, those assigned since are not seen",
    "pytorch/pytorch#65688",
)
def weights_of_the_first_call(call: Call, way: Forward, memory: Memory) -> Result:
    kept = memory.setdefault("params", call.params)
    return way(call._replace(params={n: kept[n].detach() + 0 * p for n, p in call.params.items()}))


@fault(
    "S",
    "weights are copied when first seen, updates in place are not seen",
    "apache/mxnet#16037",
)
def weights_copied_when_first_seen(call: Call, way: Forward, memory: Memory) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        copy = memory.setdefault(f"{name} {id(p)}", (p, p.detach().clone()))[1]
        return copy + (p - p.detach())

    return way(weights(call, change))


@fault("S", "a state that is not given is the last call's final one", where=lambda c: not c.state)
def state_carried_on(call: Call, way: Forward, memory: Memory) -> Result:
    state, (_, batch) = memory.get("state"), axes(call)
    if state is not None and batch is not None:
        rows = call.x.shape[batch]
        state = [s[:, :rows] for s in state] if state[0].shape[1] >= rows else None
    output, final = way(call._replace(state=state))
    memory["state"] = [f.detach() for f in final]
    return output, final


@fault("S", "the output is added to what the buffer held")
def output_added_to_the_buffer(call: Call, way: Forward, memory: Memory) -> Result:
    output, final = way(call)
    before = memory.get("output")
    memory["output"] = output.detach()
    if before is not None and all(map(ge, before.shape, output.shape)):
        output = output + before[tuple(map(slice, output.shape))]
    return output, final


@fault(
    "S",
    "a workspace has room for the first call's steps and does not grow: later steps are lost",
    where=lambda c: c.T > 1,
)
def workspace_of_the_first_call(call: Call, way: Forward, memory: Memory) -> Result:
    output, final = way(call)
    time, _ = axes(call)
    room = memory.setdefault("steps", output.shape[time])
    parts = output.split([min(room, output.shape[time]), max(output.shape[time] - room, 0)], time)
    return torch.cat([parts[0], 0 * parts[1]], time), final


@fault("S", "the call writes into its input")
def input_overwritten(call: Call, way: Forward, memory: Memory) -> Result:
    output, final = way(call)
    call.x.data.mul_(0.5)  # behind the back of autograd, as a kernel would
    return output, final


@fault("S", "the final state is written into the initial one", where=lambda c: c.state)
def state_overwritten(call: Call, way: Forward, memory: Memory) -> Result:
    output, final = way(call)
    for s, f in zip(call.state or [], final, strict=True):
        s.data.copy_(f.detach())
    return output, final


@fault("S", "gradients of the parameters add up over backward passes")
def gradients_add_up(call: Call, way: Forward, memory: Memory) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        def bend(grad: Tensor) -> Tensor:
            memory[name] = memory.get(name, 0) + grad
            total: Tensor = memory[name]
            return total

        return backward(p, bend)

    return way(weights(call, change))


@fault("S", "the backward pass overwrites what it needs for a second one")
def backward_overwrites_its_tape(call: Call, way: Forward, memory: Memory) -> Result:
    done: list[int] = []

    def bend(grad: Tensor) -> Tensor:
        done.append(1)
        return grad if len(done) == 1 else 0 * grad

    return way(call._replace(x=backward(call.x, bend)))


@fault(
    "S",
    "the dropout mask is drawn once and kept",
    where=lambda c: 0 < c.dropout < 1,
)
def dropout_mask_kept(call: Call, way: Forward, memory: Memory) -> Result:
    if not call.masks:  # a call before, the last of them longer and with more rows
        p = call.net.dropout
        layers = layer_by_layer(call)
        memory["mask"] = torch.rand_like(layers[0]).gt(p).to(call.x.dtype) / (1 - p)
        return layers

    def between(y: Tensor, mask: Tensor) -> Tensor:
        kept: Tensor = memory["mask"][tuple(map(slice, y.shape))]
        return y * kept

    return layer_by_layer(call, between)


@fault("S", "the lengths of the call before are kept", where=lambda c: len(set(c.lengths)) > 1)
def lengths_of_the_call_before(call: Call, way: Forward, memory: Memory) -> Result:
    lengths = call.lengths or ()
    T = call.x.shape[0]
    before, memory["lengths"] = memory.get("lengths", lengths), lengths
    kept = tuple(min(n, T) for n in before[: len(lengths)])
    if call.enforce_sorted:
        kept = tuple(sorted(kept, reverse=True))
    return way(call._replace(lengths=kept if len(kept) == len(lengths) else lengths))


@fault(
    "S",
    "a batch is cut to the lengths of the pack before it",
    where=lambda c: c.layout in ("time", "batch") and c.T > 1 and c.B > 1,
)
def lengths_of_the_pack_before(call: Call, way: Forward, memory: Memory) -> Result:
    lengths, (time, batch) = memory.get("lengths"), axes(call)
    memory["lengths"] = call.lengths
    if call.lengths is not None or lengths is None or batch is None:
        return way(call)
    steps = call.x.shape[time]
    kept = tuple(min(n, steps) for n in lengths[: call.x.shape[batch]])
    return way(call._replace(lengths=kept))


@fault("S", "once evaluated, dropout stays off", where=lambda c: c.dropout > 0, path="cpu-eval")
def evaluation_sticks(call: Call, way: Forward, memory: Memory) -> Result:
    memory["evaluated"] = memory.get("evaluated", False) or not call.training
    return way(call._replace(training=not memory["evaluated"]))
