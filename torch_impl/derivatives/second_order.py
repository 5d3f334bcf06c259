"""Directional derivatives of torch's modules, of first and second order.

`module` is nn.RNN, nn.GRU or nn.LSTM in eval mode. `inputs` and `direction` hold, by name, x, h_0,
for an LSTM c_0, and every parameter.
"""

from collections.abc import Callable, Mapping

import torch
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence

from ..nets.state import split_state

Tensors = Mapping[str, torch.Tensor]

Wrap = Callable[[torch.Tensor], torch.Tensor | PackedSequence]


def run(module: torch.nn.Module, inputs: Tensors, wrap: Wrap = lambda x: x) -> list[torch.Tensor]:
    """Output, h_n and, for an LSTM, c_n. `wrap` packs x, or leaves it as it is."""
    params = {name: v for name, v in inputs.items() if name not in ("x", "h_0", "c_0")}
    state = (inputs["h_0"], inputs["c_0"]) if "c_0" in inputs else inputs["h_0"]
    output, final = functional_call(module, params, (wrap(inputs["x"]), state))
    output = output.data if isinstance(output, PackedSequence) else output
    return [output, *split_state(final)]


def tangent(
    module: torch.nn.Module,
    inputs: Tensors,
    direction: Tensors,
    wrap: Wrap = lambda x: x,
) -> list[torch.Tensor]:
    """The derivative of `run` along the direction, in forward mode."""
    with forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(v, direction[name]) for name, v in inputs.items()}
        return [forward_ad.unpack_dual(v).tangent for v in run(module, duals, wrap)]


def hessian_vector_product(
    loss: Callable[[Tensors], torch.Tensor], inputs: Tensors, direction: Tensors
) -> tuple[Tensors, Tensors]:
    """A loss's gradient by name, and its derivative along the direction, by double backward."""
    leaves = {name: v.detach().requires_grad_() for name, v in inputs.items()}
    gradient = torch.autograd.grad(loss(leaves), list(leaves.values()), create_graph=True)
    directional = torch.stack(
        [(g * direction[name]).sum() for g, name in zip(gradient, leaves, strict=True)]
    ).sum()
    second = torch.autograd.grad(
        directional, list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    names = list(leaves)
    return dict(zip(names, gradient, strict=True)), dict(zip(names, second, strict=True))
