"""Mistakes with the weights: forward and its own gradient agree, so that no gradient check sees
them."""

import math

import torch

from torch_impl.execution.calls import Call, Forward, Result

from ..cases.case import Case
from .fault import fault
from .inject import Tensor, gates, layer_of, weights

GATED = ("GRU", "LSTM")
_ORDER = {"GRU": "zrn", "LSTM": "iofg"}  # of other frameworks


def _deep(case: Case) -> bool:
    return case.layers > 1


def _biased(case: Case) -> bool:
    return case.bias


@fault("W", "bias_hh is overwritten with zeros", "pytorch/pytorch#94889", where=_biased)
def bias_hh_zeroed(call: Call, way: Forward) -> Result:
    return way(weights(call, lambda n, p: 0 * p if n.startswith("bias_hh") else p))


@fault("W", "the biases of layers above the first are lost", where=lambda c: c.bias and _deep(c))
def biases_of_higher_layers_lost(call: Call, way: Forward) -> Result:
    return way(weights(call, lambda n, p: 0 * p if "bias" in n and layer_of(n) else p))


@fault("W", "bias_ih is added twice, bias_hh never", where=_biased)
def bias_ih_for_both(call: Call, way: Forward) -> Result:
    return way(weights(call, lambda n, p: call.params[n.replace("bias_hh", "bias_ih")]))


@fault("W", "every layer has the bias of the first", where=lambda c: c.bias and _deep(c))
def bias_of_the_first_layer(call: Call, way: Forward) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        first = name.replace(f"_l{layer_of(name)}", "_l0")
        return call.params[first] if name.startswith("bias") else p

    return way(weights(call, change))


@fault(
    "W",
    "the reverse direction runs with the forward direction's weights",
    "pytorch/pytorch#90421, pytorch/pytorch#95563",
    where=lambda c: c.bidirectional,
)
def reverse_weights_are_forward_ones(call: Call, way: Forward) -> Result:
    return way(weights(call, lambda n, p: call.params[n.removesuffix("_reverse")]))


@fault(
    "W",
    "layers above the first are read from offsets that hold only where input and hidden size are "
    "equal",
    "apache/mxnet#17479",
    where=lambda c: c.layers > 1 and (c.P or c.H) * (1 + c.bidirectional) != c.I,
)
def offsets_of_a_square_net(call: Call, way: Forward) -> Result:
    buffer = torch.cat([p.reshape(-1) for p in call.params.values()])
    first = sum(p.numel() for name, p in call.params.items() if layer_of(name) == 0)
    offset = 0
    layer = 0
    changed = {}
    for name, p in call.params.items():
        if layer_of(name) > layer:
            layer = layer_of(name)
            offset = layer * first  # as though every layer were as large as the first
        places = torch.arange(offset, offset + p.numel()) % buffer.numel()
        changed[name] = buffer[places].reshape(p.shape)
        offset += p.numel()
    return way(call._replace(params=changed))


@fault("W", "a middle layer runs with the weights of the last", where=lambda c: c.layers > 2)
def middle_layer_repeats_the_last(call: Call, way: Forward) -> Result:
    return way(weights(call, lambda n, p: call.params[n.replace("_l1", "_l2")]))


@fault(
    "W",
    "one layer's weight_hh has its gates in another framework's order",
    "microsoft/onnxscript#2674",
    cells=GATED,
    where=_deep,
)
def gate_order_in_one_layer(call: Call, way: Forward) -> Result:
    order = _ORDER[call.net.mode]
    return way(weights(call, lambda n, p: gates(call.net, p, order) if "weight_hh_l1" in n else p))


@fault("W", "all gates stand in another framework's order", cells=GATED)
def gate_order_everywhere(call: Call, way: Forward) -> Result:
    order = _ORDER[call.net.mode]
    return way(
        weights(call, lambda n, p: p if n.startswith("weight_hr") else gates(call.net, p, order))
    )


@fault("W", "the biases' gates stand in another order", cells=GATED, where=_biased)
def gate_order_of_biases(call: Call, way: Forward) -> Result:
    order = _ORDER[call.net.mode]
    return way(weights(call, lambda n, p: gates(call.net, p, order) if n.startswith("bias") else p))


@fault("W", "weight_hh is applied transposed, gate by gate", where=lambda c: not c.P and c.H > 1)
def weight_hh_transposed(call: Call, way: Forward) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        H = call.net.hidden_size
        turned = p.reshape(-1, H, p.shape[-1]).transpose(1, 2) if p.dim() == 2 else p
        return turned.reshape(p.shape) if "_hh_" in name else p

    return way(weights(call, change))


@fault("W", "weight_ih is read column by column", "pytorch/pytorch#80306")
def weight_ih_column_major(call: Call, way: Forward) -> Result:
    return way(weights(call, lambda n, p: p.T.reshape(p.shape) if n.startswith("weight_ih") else p))


@fault("W", "the projection is read column by column", cells=("LSTM",), where=lambda c: c.P > 1)
def projection_column_major(call: Call, way: Forward) -> Result:
    return way(weights(call, lambda n, p: p.T.reshape(p.shape) if n.startswith("weight_hr") else p))


@fault(
    "W",
    "the projection of the first layer serves all layers",
    cells=("LSTM",),
    where=lambda c: c.P > 0 and _deep(c),
)
def projection_of_the_first_layer(call: Call, way: Forward) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        first = name.replace(f"_l{layer_of(name)}", "_l0")
        return call.params[first] if name.startswith("weight_hr") else p

    return way(weights(call, change))


@fault("W", "1 is added to the forget gate's net input", cells=("LSTM",), where=_biased)
def forget_bias_added(call: Call, way: Forward) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        H = call.net.hidden_size
        one = torch.zeros_like(p.detach())
        if name.startswith("bias_ih"):
            one[H : 2 * H] = 1
        return p + one

    return way(weights(call, change))


@fault("W", "the last row of every weight is never copied")
def last_row_not_copied(call: Call, way: Forward) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        kept = torch.ones(len(p), *[1] * (p.dim() - 1), dtype=p.dtype)
        kept[-1] = 0
        return p * kept if name.startswith("weight_ih") else p

    return way(weights(call, change))


@fault("W", "weights are left quantised to eight bits")
def weights_of_eight_bits(call: Call, way: Forward) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        step = p.detach().abs().max() / 127
        step = step if math.isfinite(step) and step > 0 else torch.ones_like(step)
        return p + (torch.round(p.detach() / step) * step - p.detach())

    return way(weights(call, change))
