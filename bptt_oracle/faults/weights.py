"""Faults in the parameters. Value and gradient agree, so no gradient check finds them."""

import math

import torch

from torch_impl.execution.calls import Call, Forward, Result

from ..cases.case import Case
from .fault import fault
from .inject import Tensor, change_parameters, layer_of, reorder_gates

GATED = ("GRU", "LSTM")
_ORDER = {"GRU": "zrn", "LSTM": "iofg"}  # used by other frameworks


def _deep(case: Case) -> bool:
    return case.layers > 1


def _biased(case: Case) -> bool:
    return case.bias


@fault("W", "bias_hh is overwritten with zeros", "pytorch/pytorch#94889", applies_to=_biased)
def bias_hh_zeroed(call: Call, forward: Forward) -> Result:
    return forward(change_parameters(call, lambda n, p: 0 * p if n.startswith("bias_hh") else p))


@fault("W", "biases of layers above the first are zero", applies_to=lambda c: c.bias and _deep(c))
def biases_of_higher_layers_lost(call: Call, forward: Forward) -> Result:
    return forward(
        change_parameters(call, lambda n, p: 0 * p if "bias" in n and layer_of(n) else p)
    )


@fault("W", "bias_ih is added twice, bias_hh never", applies_to=_biased)
def bias_ih_for_both(call: Call, forward: Forward) -> Result:
    return forward(
        change_parameters(call, lambda n, p: call.params[n.replace("bias_hh", "bias_ih")])
    )


@fault(
    "W", "every layer uses the biases of the first layer", applies_to=lambda c: c.bias and _deep(c)
)
def bias_of_the_first_layer(call: Call, forward: Forward) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        first = name.replace(f"_l{layer_of(name)}", "_l0")
        return call.params[first] if name.startswith("bias") else p

    return forward(change_parameters(call, change))


@fault(
    "W",
    "the reverse direction uses the forward direction's parameters",
    "pytorch/pytorch#90421, pytorch/pytorch#95563",
    applies_to=lambda c: c.bidirectional,
)
def reverse_weights_are_forward_ones(call: Call, forward: Forward) -> Result:
    return forward(change_parameters(call, lambda n, p: call.params[n.removesuffix("_reverse")]))


@fault(
    "W",
    "layers above the first are read from offsets that are correct only if input and hidden size "
    "are equal",
    "apache/mxnet#17479",
    applies_to=lambda c: c.layers > 1 and (c.P or c.H) * (1 + c.bidirectional) != c.I,
)
def offsets_of_a_square_net(call: Call, forward: Forward) -> Result:
    buffer = torch.cat([p.reshape(-1) for p in call.params.values()])
    first = sum(p.numel() for name, p in call.params.items() if layer_of(name) == 0)
    offset = 0
    layer = 0
    changed = {}
    for name, p in call.params.items():
        if layer_of(name) > layer:
            layer = layer_of(name)
            offset = layer * first  # as if every layer were as large as the first
        indices = torch.arange(offset, offset + p.numel()) % buffer.numel()
        changed[name] = buffer[indices].reshape(p.shape)
        offset += p.numel()
    return forward(call._replace(params=changed))


@fault(
    "W", "a middle layer uses the parameters of the last layer", applies_to=lambda c: c.layers > 2
)
def middle_layer_repeats_the_last(call: Call, forward: Forward) -> Result:
    return forward(change_parameters(call, lambda n, p: call.params[n.replace("_l1", "_l2")]))


@fault(
    "W",
    "the gates of weight_hh are in another framework's order in one layer",
    "microsoft/onnxscript#2674",
    cells=GATED,
    applies_to=_deep,
)
def gate_order_in_one_layer(call: Call, forward: Forward) -> Result:
    order = _ORDER[call.net.mode]
    return forward(
        change_parameters(
            call, lambda n, p: reorder_gates(call.net, p, order) if "weight_hh_l1" in n else p
        )
    )


@fault("W", "all gates are in another framework's order", cells=GATED)
def gate_order_everywhere(call: Call, forward: Forward) -> Result:
    order = _ORDER[call.net.mode]
    return forward(
        change_parameters(
            call, lambda n, p: p if n.startswith("weight_hr") else reorder_gates(call.net, p, order)
        )
    )


@fault(
    "W", "the gates of the biases are in another framework's order", cells=GATED, applies_to=_biased
)
def gate_order_of_biases(call: Call, forward: Forward) -> Result:
    order = _ORDER[call.net.mode]
    return forward(
        change_parameters(
            call, lambda n, p: reorder_gates(call.net, p, order) if n.startswith("bias") else p
        )
    )


@fault("W", "weight_hh is transposed gate by gate", applies_to=lambda c: not c.P and c.H > 1)
def weight_hh_transposed(call: Call, forward: Forward) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        H = call.net.hidden_size
        transposed = p.reshape(-1, H, p.shape[-1]).transpose(1, 2) if p.dim() == 2 else p
        return transposed.reshape(p.shape) if "_hh_" in name else p

    return forward(change_parameters(call, change))


@fault("W", "weight_ih is read in column-major order", "pytorch/pytorch#80306")
def weight_ih_column_major(call: Call, forward: Forward) -> Result:
    return forward(
        change_parameters(
            call, lambda n, p: p.T.reshape(p.shape) if n.startswith("weight_ih") else p
        )
    )


@fault(
    "W",
    "the projection is read in column-major order",
    cells=("LSTM",),
    applies_to=lambda c: c.P > 1,
)
def projection_column_major(call: Call, forward: Forward) -> Result:
    return forward(
        change_parameters(
            call, lambda n, p: p.T.reshape(p.shape) if n.startswith("weight_hr") else p
        )
    )


@fault(
    "W",
    "every layer uses the projection of the first layer",
    cells=("LSTM",),
    applies_to=lambda c: c.P > 0 and _deep(c),
)
def projection_of_the_first_layer(call: Call, forward: Forward) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        first = name.replace(f"_l{layer_of(name)}", "_l0")
        return call.params[first] if name.startswith("weight_hr") else p

    return forward(change_parameters(call, change))


@fault("W", "1 is added to the net input of the forget gate", cells=("LSTM",), applies_to=_biased)
def forget_bias_added(call: Call, forward: Forward) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        H = call.net.hidden_size
        offset = torch.zeros_like(p.detach())
        if name.startswith("bias_ih"):
            offset[H : 2 * H] = 1
        return p + offset

    return forward(change_parameters(call, change))


@fault("W", "the last row of every weight_ih is zero")
def last_row_not_copied(call: Call, forward: Forward) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        mask = torch.ones(len(p), *[1] * (p.dim() - 1), dtype=p.dtype)
        mask[-1] = 0
        return p * mask if name.startswith("weight_ih") else p

    return forward(change_parameters(call, change))


@fault("W", "parameters are quantised to eight bits")
def weights_of_eight_bits(call: Call, forward: Forward) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        step = p.detach().abs().max() / 127
        step = step if math.isfinite(step) and step > 0 else torch.ones_like(step)
        return p + (torch.round(p.detach() / step) * step - p.detach())

    return forward(change_parameters(call, change))
