"""Tensors on two devices: the error names both.

The second device is "meta", which holds no values: any result would be a wrong one. On packed data
and in cells torch does not reject a single matrix there: its mm multiplies a CPU and a meta matrix
without a check, and returns uninitialised memory. Only what is rejected is tested there.
"""

import pytest
import torch

from bptt_oracle.cases.case import draw
from support.drawn_cases import pinned
from support.nn_modules import call, inputs_of, module_of

CELLS = ("RNN_TANH", "GRU", "LSTM")
LAYOUTS = [("time", ()), ("packed", (2, 5, 1)), ("sorted", (5, 3, 3))]
each_net = pytest.mark.parametrize(
    "case",
    [
        pinned(cell=cell, layout=layout, lengths=lengths, cotangents=("output",))
        for cell in CELLS
        for layout, lengths in LAYOUTS
    ],
    ids=lambda c: f"{c.cell}-{c.layout}",
)


def names_both_devices(call):
    with pytest.raises((RuntimeError, NotImplementedError)) as caught:
        call()
    message = str(caught.value)
    assert "cpu" in message and "meta" in message, message


def moved(module, name):
    """The module with one parameter on the other device."""
    setattr(module, name, torch.nn.Parameter(getattr(module, name).detach().to("meta")))
    return module


@each_net
def test_parameters_on_another_device_are_rejected(case):
    problem = draw(case)
    for name in problem.params:
        if case.lengths and name.startswith("weight"):
            continue
        module = moved(module_of(problem), name)
        names_both_devices(lambda module=module: call(module, problem, leaves={}))
    names_both_devices(lambda: call(module_of(problem, device="meta"), problem, leaves={}))


@each_net
def test_an_input_or_a_state_on_another_device_is_rejected(case):
    problem = draw(case)
    module = module_of(problem)
    names_both_devices(
        lambda: call(lambda x, state: module(x.to("meta"), state), problem, leaves={})
    )
    for k in range(len(problem.state)):

        def with_meta(x, state, k=k):
            if not isinstance(state, tuple):
                return module(x, state.to("meta"))
            return module(x, tuple(s.to("meta") if j == k else s for j, s in enumerate(state)))

        names_both_devices(lambda: call(with_meta, problem, leaves={}))


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_with_tensors_on_two_devices_is_rejected(cell):
    problem = draw(pinned(cell=cell, T=1, layers=1, cotangents=("output",)))
    kind = getattr(torch.nn, f"{type(problem.net).__name__}Cell")
    x, state = inputs_of(problem)
    x, state = x[0], [s[0] for s in state]

    def as_argument(state):
        return tuple(state) if len(state) > 1 else state[0]

    names_both_devices(lambda: kind(4, 6)(x.to("meta"), as_argument(state)))
    names_both_devices(lambda: kind(4, 6, device="meta")(x, as_argument(state)))
    for k in range(len(state)):
        other = [s.to("meta") if j == k else s for j, s in enumerate(state)]
        names_both_devices(lambda other=other: kind(4, 6)(x, as_argument(other)))
    for name in ("bias_ih", "bias_hh"):
        module = moved(kind(4, 6), name)
        names_both_devices(lambda module=module: module(x, as_argument(state)))


def test_lengths_on_another_device_are_rejected():
    lengths = torch.tensor([5, 3, 2], device="meta")
    with pytest.raises(RuntimeError, match="CPU.*meta"):
        torch.nn.utils.rnn.pack_padded_sequence(torch.zeros(5, 3, 4), lengths)
