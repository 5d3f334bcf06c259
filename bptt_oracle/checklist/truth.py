"""The truth of nn.RNN, nn.GRU and nn.LSTM modules, where a check meets one."""

from typing import Any

import numpy as np
from torch import Tensor, nn

import reference
from torch_impl.execution.dtypes import array_of
from torch_impl.execution.precision import UNIT_ROUNDOFF
from torch_impl.execution.problem import Problem

from ..judging.judge import LIMIT, judge
from ..judging.truth import expect

KINDS = (nn.RNN, nn.GRU, nn.LSTM)
FORWARDS = tuple(kind.forward for kind in KINDS)
LARGEST = 2**20  # elements of x and of the output; truth of more takes too long


def known_net(model: object, x: Tensor) -> nn.RNNBase | None:
    """The module, if the reference knows its net, and truth of x can be computed.

    A subclass with a forward of its own, a module with hooks or with reparametrised weights may
    compute something else, and be right.
    """
    if not isinstance(model, KINDS) or type(model).forward not in FORWARDS:
        return None
    if str(x.dtype).removeprefix("torch.") not in UNIT_ROUNDOFF:
        return None
    hooked = model._forward_hooks or model._forward_pre_hooks
    named = dict(model.named_parameters())
    plain = set(named) == set(model._flat_weights_names) and not hooked
    plain = plain and all(p.dtype == x.dtype for p in named.values())
    small = x.dim() == 3 and x.shape[0] * x.shape[1] * model.hidden_size <= LARGEST
    return model if plain and small else None


def measure(net: nn.RNNBase, x: Tensor, output: Tensor, batch_first: bool) -> float:
    """R of an output [B, T, ·] or [T, B, ·] of a net for x in the same layout, from zero states.

    The layout is the caller's: the module's own batch_first is not read, because it may be the
    mistake. Above `LIMIT` it is a fault.
    """
    dtype = str(x.dtype).removeprefix("torch.")
    truth_net = _reference_net(net, batch_first)
    params = {name: array_of(p.detach()) for name, p in net.named_parameters()}
    problem = Problem(
        truth_net,
        {name: value.astype(np.float64) for name, value in params.items()},
        array_of(x.detach()).astype(np.float64),
        None,
        False,
        None,
        None,
        (None,) * len(truth_net.state_sizes),
        strided=False,
        seed=0,
    )
    expected = expect(problem, dtype)
    expected = expected.of(["output"])
    return judge({"output": array_of(output.detach())}, expected).worst.R


def _reference_net(net: nn.RNNBase, batch_first: bool) -> Any:
    """The reference's net with the options of the module."""
    options: dict[str, Any] = {
        "num_layers": net.num_layers,
        "bias": net.bias,
        "batch_first": batch_first,
        "bidirectional": net.bidirectional,
    }
    if isinstance(net, nn.LSTM):
        size: dict[str, Any] = {"proj_size": net.proj_size} if net.proj_size else {}
        return reference.LSTM(net.input_size, net.hidden_size, **options, **size)
    if isinstance(net, nn.GRU):
        return reference.GRU(net.input_size, net.hidden_size, **options)
    nonlinearity = net.mode[4:].lower()
    return reference.RNN(net.input_size, net.hidden_size, nonlinearity=nonlinearity, **options)


__all__ = ["LIMIT", "known_net", "measure"]
