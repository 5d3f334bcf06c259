"""Means to make mistakes with."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from torch_impl.execution.calls import Call, Result, forward_of
from torch_impl.nets.modules import loop_of_cells, manual_step

Tensor = torch.Tensor
_NAME = re.compile(r"(weight|bias)_(ih|hh|hr)_l(\d+)(_reverse)?")


def layer_of(name: str) -> int:
    """The layer a parameter belongs to."""
    found = _NAME.fullmatch(name)
    assert found is not None, name
    return int(found[3])


def weights(call: Call, change: Callable[[str, Tensor], Tensor]) -> Call:
    """The call with every parameter p replaced by change(its name, p)."""
    return call._replace(params={name: change(name, p) for name, p in call.params.items()})


def states(call: Call, change: Callable[[Tensor], Tensor]) -> Call:
    """The call with h_0, and an LSTM's c_0, replaced by change of them."""
    return call._replace(state=None if call.state is None else [change(s) for s in call.state])


def alive(call: Call) -> Tensor:
    """[T, B, 1] for packed data: whether a step lies within its row."""
    assert call.lengths is not None
    T = call.x.shape[0]
    return (torch.arange(T)[:, None] < torch.tensor(call.lengths))[..., None]


def gates(net: Any, p: Tensor, order: str) -> Tensor:
    """The rows of a weight or bias with the gates in another order, spelled in torch's letters."""
    letters = "rzn" if net.mode == "GRU" else "ifgo"
    parts = p.chunk(len(letters))
    return torch.cat([parts[letters.index(letter)] for letter in order])


class _Backward(torch.autograd.Function):
    """The identity forward, `change` backward."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.change = change
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return ctx.change(grad), None


def backward(value: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The value, whose gradient becomes change(gradient)."""
    result: Tensor = _Backward.apply(value, change)
    return result


class _Replaced(TorchFunctionMode):
    def __init__(self, others: dict[Any, Callable[..., Tensor]]) -> None:
        super().__init__()
        self.others = others

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.others.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def replaced(others: dict[Any, Callable[..., Tensor]]) -> Iterator[None]:
    """Functions of torch replaced while plain tensor code runs."""
    with _Replaced(others):
        yield


def stepped(call: Call, make: Callable[[str], Callable[..., Any]]) -> Result:
    """The net by a loop over time, its steps from make(suffix): (net, params, suffix, x, state)
    to the new state. Made anew for each layer and direction, so that a step may count."""

    def cell(net: Any, params: Any, layer: int, direction: int) -> Callable[..., Any]:
        suffix = f"_l{layer}" + "_reverse" * direction
        return partial(make(suffix), net, params, suffix)

    return loop_of_cells(call.net, call.params, call.x, call.lengths, call.masks, call.state, cell)


def by_step(call: Call, step: Callable[..., Any] = manual_step) -> Result:
    """`stepped` with one step for all layers."""
    return stepped(call, lambda suffix: step)


def layer_by_layer(call: Call, between: Callable[[Tensor, Tensor], Tensor] = torch.mul) -> Result:
    """The net as a module for each layer, joined by between(output, scaled mask)."""
    net, y, finals = call.net, call.x, []
    D = 1 + net.bidirectional
    for layer in range(net.num_layers):
        one = replace(net, num_layers=1, input_size=y.shape[-1], dropout=0.0)
        own = {
            re.sub(r"_l\d+", "_l0", name): p
            for name, p in call.params.items()
            if layer_of(name) == layer
        }
        state = call.state and [s[layer * D : (layer + 1) * D] for s in call.state]
        y, final = forward_of("module")(
            call._replace(net=one, params=own, x=y, state=state, masks=[])
        )
        finals.append(final)
        if layer < net.num_layers - 1:
            y = between(y, as_output(call, call.masks[layer]) if call.masks else torch.ones(()))
    return y, [torch.cat(parts) for parts in zip(*finals, strict=True)]


def as_output(call: Call, mask: Tensor) -> Tensor:
    """A mask [T, B, ·] in the layout of the output."""
    if call.x.dim() == 2:
        return mask[:, 0]
    return mask.transpose(0, 1) if call.net.batch_first else mask


def rounded(value: Tensor, bits: int) -> Tensor:
    """The value with `bits` after the leading one; its gradient is the identity's."""
    mantissa, exponent = torch.frexp(value.detach())
    near = torch.ldexp(torch.round(mantissa * 2.0 ** (bits + 1)), exponent - bits - 1)
    return value + (near.to(value.dtype) - value.detach())
