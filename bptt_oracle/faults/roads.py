"""Faults of nets on roads: copied, traced, quantised, or differentiated along a direction."""

import torch

from torch_impl.execution.calls import Call, Forward, Result, axes
from torch_impl.roads.quantised import ACTIVATION_STEPS

from ..cases.case import Case
from .fault import fault
from .inject import Tensor, change_gradient, change_parameters, change_states

EXAMPLE_STEPS = 3  # of the trace


def _quantisable(c: Case) -> bool:
    """Whether torch quantises the net of a case."""
    return not c.P and not c.dropout and c.layout != "unbatched"


@fault(
    "D",
    "a copy computes with the weights of the first net, which have changed",
    path="cpu-deepcopy",
)
def copy_reads_the_first_net(call: Call, forward: Forward) -> Result:
    return forward(change_parameters(call, lambda name, p: 1.5 * p))


@fault(
    "D",
    "a net that was called before loads its weights except those of the last layer",
    path="cpu-statedict",
    applies_to=lambda c: c.layers > 1,
)
def last_layer_not_loaded(call: Call, forward: Forward) -> Result:
    last = f"_l{call.net.num_layers - 1}"
    return forward(change_parameters(call, lambda name, p: 0 * p if last in name else p))


@fault(
    "D",
    "a trace keeps the number of steps of its example; later steps are lost",
    "pytorch/pytorch#141115",
    path="cpu-trace",
    applies_to=lambda c: (
        c.T > EXAMPLE_STEPS and not c.lengths and not c.tied and "output" in c.cotangents
    ),
)
def steps_of_the_example(call: Call, forward: Forward) -> Result:
    output, final = forward(call)
    time, _ = axes(call)
    kept = torch.arange(output.shape[time]) < EXAMPLE_STEPS
    shape = [1] * output.dim()
    shape[time] = -1
    return output * kept.view(shape).to(output.dtype), final


@fault(
    "D",
    "a frozen net starts from zeros, not from the state that is given",
    path="cpu-script-frozen",
    applies_to=lambda c: c.state and not c.dropout,
)
def frozen_without_the_state(call: Call, forward: Forward) -> Result:
    return forward(change_states(call, lambda s: 0 * s))


@fault("D", "the tangent of the input is lost", path="cpu-forward-ad")
def tangent_of_x_lost(call: Call, forward: Forward) -> Result:
    return forward(call._replace(x=call.x.detach()))


@fault(
    "D",
    "the tangent of the initial state is lost",
    path="cpu-forward-ad",
    applies_to=lambda c: c.state,
)
def tangent_of_the_state_lost(call: Call, forward: Forward) -> Result:
    return forward(change_states(call, torch.Tensor.detach))


@fault("D", "the tangent of the recurrent weights is lost", path="cpu-forward-ad")
def tangent_of_weight_hh_lost(call: Call, forward: Forward) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        return p.detach() if name.startswith("weight_hh") else p

    return forward(change_parameters(call, change))


@fault(
    "D", "the gradient of x is a constant in the second backward pass", path="cpu-double-backward"
)
def gradient_of_x_constant(call: Call, forward: Forward) -> Result:
    return forward(call._replace(x=change_gradient(call.x, torch.Tensor.detach)))


@fault(
    "D",
    "the gradient of the recurrent weights is a constant in the second backward pass",
    path="cpu-double-backward",
)
def gradient_of_weight_hh_constant(call: Call, forward: Forward) -> Result:
    def change(name: str, p: Tensor) -> Tensor:
        return change_gradient(p, torch.Tensor.detach) if name.startswith("weight_hh") else p

    return forward(change_parameters(call, change))


@fault(
    "D",
    "the zero point of the input is off by one step",
    cells=("GRU", "LSTM"),
    dtypes=("float32",),
    path="cpu-int8",
    applies_to=_quantisable,
)
def zero_point_off_by_one(call: Call, forward: Forward) -> Result:
    return forward(call._replace(x=call.x + 1 / ACTIVATION_STEPS))


@fault(
    "D",
    "the states are rounded to float16 like the weights",
    cells=("GRU", "LSTM"),
    dtypes=("float32",),
    path="cpu-float16-weights",
    applies_to=_quantisable,
)
def output_rounded_to_half(call: Call, forward: Forward) -> Result:
    output, final = forward(call)
    return output.half().float(), [s.half().float() for s in final]
