"""Tools that faults are made of: change a call, its gradients, its steps, or its layers."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from torch_impl.execution.calls import Call, Result, forward_of
from torch_impl.nets.modules import (
    NetOptions,
    Params,
    Tensors,
    directions,
    loop_of_cells,
    manual_step,
)

Tensor = torch.Tensor
Step = Callable[[NetOptions, Params, str, Tensor, Tensors], Tensors]  # as torch_impl's manual_step
Function = Callable[..., Any]  # a function of torch
_NAME = re.compile(r"(weight|bias)_(ih|hh|hr)_l(\d+)(_reverse)?")


def layer_of(name: str) -> int:
    """The layer, from 0, that the parameter of this name belongs to."""
    match = _NAME.fullmatch(name)
    assert match is not None, name
    return int(match[3])


def change_parameters(call: Call, change: Callable[[str, Tensor], Tensor]) -> Call:
    """The call with every parameter p replaced by change(name of p, p)."""
    return call._replace(params={name: change(name, p) for name, p in call.params.items()})


def change_states(call: Call, change: Callable[[Tensor], Tensor]) -> Call:
    """The call with h_0, and the c_0 of an LSTM, replaced by change(h_0) and change(c_0)."""
    return call._replace(state=None if call.state is None else [change(s) for s in call.state])


def valid_mask(call: Call) -> Tensor:
    """[T, B, 1], boolean, for packed data: whether step t lies within the length of row b."""
    assert call.lengths is not None
    T = call.x.shape[0]
    return (torch.arange(T)[:, None] < torch.tensor(call.lengths))[..., None]


def reorder_gates(net: NetOptions, p: Tensor, order: str) -> Tensor:
    """A weight or bias whose gates, in torch's letters (r z n; i f g o), are put in this order."""
    letters = "rzn" if net.mode == "GRU" else "ifgo"
    parts = p.chunk(len(letters))
    return torch.cat([parts[letters.index(letter)] for letter in order])


class _Backward(torch.autograd.Function):
    """The identity in the forward pass, `change` in the backward pass."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.change = change
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return ctx.change(grad), None


def change_gradient(value: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The value, with its gradient g replaced by change(g)."""
    apply: Callable[..., Tensor] = _Backward.apply
    return apply(value, change)


class _Replacements(TorchFunctionMode):
    """While active, calls of a key of `replacements` go to its value."""

    def __init__(self, replacements: Mapping[Function, Function]) -> None:
        super().__init__()
        self.replacements = replacements

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return self.replacements.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def replace_functions(replacements: Mapping[Function, Function]) -> Iterator[None]:
    """Replace functions of torch, given as keys, inside the block.

    It has no effect inside torch's own modules, so use it around `run_steps`.
    """
    with _Replacements(replacements):
        yield


def run_steps_made_by(call: Call, make_step: Callable[[str], Step]) -> Result:
    """Run the net as a loop over time whose step is make_step(suffix of the parameter names).

    A step is made for each layer and direction, so that it may count its calls.
    """

    def cell(
        net: NetOptions, params: Params, layer: int, direction: int
    ) -> Callable[[Tensor, Tensors], Tensors]:
        suffix = f"_l{layer}" + "_reverse" * direction
        return partial(make_step(suffix), net, params, suffix)

    return loop_of_cells(call.net, call.params, call.x, call.lengths, call.masks, call.state, cell)


def run_steps(call: Call, step: Step = manual_step) -> Result:
    """Run the net as a loop over time with one step function for all layers and directions."""
    return run_steps_made_by(call, lambda suffix: step)


def run_layers(call: Call, between: Callable[[Tensor, Tensor], Tensor] = torch.mul) -> Result:
    """Run each layer as a module of its own; its output y enters the next as between(y, mask).

    The mask is scaled by 1 / (1 − p) and has the layout of the output; it is 1 without dropout.
    """
    net, y, finals = call.net, call.x, []
    D = directions(net)
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
            y = between(
                y, in_output_layout(call, call.masks[layer]) if call.masks else torch.ones(())
            )
    return y, [torch.cat(parts) for parts in zip(*finals, strict=True)]


def in_output_layout(call: Call, mask: Tensor) -> Tensor:
    """A mask [T, B, ·] rearranged to the layout of the output."""
    if call.x.dim() == 2:
        return mask[:, 0]
    return mask.transpose(0, 1) if call.net.batch_first else mask


def round_to_bits(value: Tensor, bits: int) -> Tensor:
    """The value rounded to `bits` bits after the leading one, with the gradient of the identity."""
    mantissa, exponent = torch.frexp(value.detach())
    nearest = torch.ldexp(torch.round(mantissa * 2.0 ** (bits + 1)), exponent - bits - 1)
    return value + (nearest.to(value.dtype) - value.detach())
