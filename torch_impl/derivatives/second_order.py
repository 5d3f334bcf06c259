"""Directional derivatives of torch's modules, of first and second order.

`module` is nn.RNN, nn.GRU or nn.LSTM in eval mode; `inputs` and `direction` hold x, the state's
arrays h_0 (and c_0), and every parameter, by name.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence

Tensors = Mapping[str, torch.Tensor]


def run(
    module: torch.nn.Module, inputs: Tensors, wrap: Callable[[torch.Tensor], Any] = lambda x: x
) -> list[torch.Tensor]:
    """Output, h_n and, for an LSTM, c_n; `wrap` makes a PackedSequence of x where it is packed."""
    params = {name: v for name, v in inputs.items() if name not in ("x", "h_0", "c_0")}
    state = (inputs["h_0"], inputs["c_0"]) if "c_0" in inputs else inputs["h_0"]
    output, final = functional_call(module, params, (wrap(inputs["x"]), state))
    states = final if isinstance(final, tuple) else (final,)
    return [output.data if isinstance(output, PackedSequence) else output, *states]


def tangent(
    module: torch.nn.Module,
    inputs: Tensors,
    direction: Tensors,
    wrap: Callable[[torch.Tensor], Any] = lambda x: x,
) -> list[torch.Tensor]:
    """The derivative of `run` along the direction, by torch's forward mode."""
    with forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(v, direction[name]) for name, v in inputs.items()}
        return [forward_ad.unpack_dual(v).tangent for v in run(module, duals, wrap)]


def hessian_vector_product(
    loss: Callable[[Tensors], torch.Tensor], inputs: Tensors, direction: Tensors
) -> tuple[Tensors, Tensors]:
    """The gradient of a loss by name, and its derivative along the direction: double backward."""
    leaves = {name: v.detach().requires_grad_() for name, v in inputs.items()}
    found = torch.autograd.grad(loss(leaves), list(leaves.values()), create_graph=True)
    along = torch.stack(
        [(g * direction[name]).sum() for g, name in zip(found, leaves, strict=True)]
    ).sum()
    second = torch.autograd.grad(
        along, list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    names = list(leaves)
    return dict(zip(names, found, strict=True)), dict(zip(names, second, strict=True))
