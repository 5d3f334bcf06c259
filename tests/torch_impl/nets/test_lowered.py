"""Nets in other forms: scripted, traced, exported, and with dynamically quantised weights.

A quantised net is judged as the net of its dequantised weights. With weights in float16 that is
the whole truth. With weights in int8, torch also rounds what each product takes, x and h, to 127
steps between their extremes. The tests therefore take inputs that lie on these steps, or round h
as torch does before each step of the truth.
"""

import copy
import io
import warnings

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import PackedSequence

from bptt_oracle.cases.case import draw
from support.drawn_cases import pinned
from support.nn_modules import (
    CASES,
    agrees,
    call,
    differs,
    halved,
    inputs_of,
    module_of,
    tensor_of,
)
from torch_impl.execution.dtypes import array_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.ao.quantization:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning"),
]
DENSE = [case for case in CASES if not case.lengths]


class One(torch.nn.Module):
    """A net with the state h."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, h):
        output, final = self.net(x, h)
        return output, final


class Two(torch.nn.Module):
    """A net with the state (h, c)."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, h, c):
        output, final = self.net(x, (h, c))
        return output, final[0], final[1]


class PackedOne(One):
    """A net of packed data with the state h."""

    def forward(self, x: PackedSequence, h):
        output, final = self.net(x, h)
        return output, final


class PackedTwo(Two):
    """A net of packed data with the state (h, c)."""

    def forward(self, x: PackedSequence, h, c):
        output, final = self.net(x, (h, c))
        return output, final[0], final[1]


def wrapped(case, module):
    """The module with its arguments one by one, as scripts and exports take them."""
    if case.lengths:
        return (PackedTwo if case.cell == "LSTM" else PackedOne)(module)
    return (Two if case.cell == "LSTM" else One)(module)


def call_lowered(lowered, problem):
    """The results of a lowered net, as `call` gives those of a module."""

    def forward(x, state):
        fields = state if isinstance(state, tuple) else (state,)
        output, *final = lowered(x, *fields)
        return output, tuple(final) if len(final) > 1 else final[0]

    params = dict(lowered.named_parameters())
    return call(forward, problem, leaves={name: params[f"net.{name}"] for name in problem.params})


def scripted(net, inputs):
    return torch.jit.script(net)


def scripted_and_loaded(net, inputs):
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(net), file)
    file.seek(0)
    return torch.jit.load(file)


def traced(net, inputs):
    return torch.jit.trace(net, inputs)


def exported(net, inputs):
    return torch.export.export(net, inputs).module()


def exported_and_loaded(net, inputs):
    file = io.BytesIO()
    torch.export.save(torch.export.export(net, inputs), file)
    file.seek(0)
    return torch.export.load(file).module()


def decomposed(net, inputs):
    """Exported, and the recurrence decomposed into products, sums and activations."""
    return torch.export.export(net, inputs).run_decompositions().module()


FORMS = [
    pytest.param(form, case, id=f"{form.__name__}-{case.id}")
    for form in (scripted, scripted_and_loaded, traced, exported, exported_and_loaded, decomposed)
    for case in CASES
    # a trace or an export takes no packed data: their sizes decide the control flow
    if form in (scripted, scripted_and_loaded) or not case.lengths
]


@pytest.mark.slow
@pytest.mark.parametrize("form, case", FORMS)
def test_a_lowered_net_agrees_also_with_weights_changed_afterwards(form, case):
    problem = draw(case)
    x, state = inputs_of(draw(case._replace(seed=8)))  # other numbers than those judged
    net = wrapped(case, module_of(problem))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compilers, about what they deprecate
        lowered = form(net, (x.detach(), *(s.detach() for s in state)))
    agrees(call_lowered(lowered, problem), problem)
    with torch.no_grad():
        for p in lowered.parameters():
            p.mul_(0.5)
    results = call_lowered(lowered, halved(problem))
    agrees(results, halved(problem))
    differs(results, problem)


@pytest.mark.slow
@pytest.mark.parametrize("case", DENSE, ids=lambda c: c.id)
def test_a_trace_of_one_batch_computes_batches_of_other_sizes(case):
    problem = draw(case)
    x, state = inputs_of(draw(case._replace(T=3, B=2)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lowered = traced(wrapped(case, module_of(problem)), (x, *state))
    agrees(call_lowered(lowered, problem), problem)


def quantised(module, dtype):
    """A copy of the module with dynamically quantised weights."""
    quantization = pytest.importorskip("torch.ao.quantization")
    if torch.backends.quantized.engine not in ("x86", "fbgemm"):
        pytest.skip("only FBGEMM rounds to 127 steps, and this build of torch runs without it")
    net = torch.nn.Sequential(copy.deepcopy(module))
    result = quantization.quantize_dynamic(net, {type(module)}, dtype=dtype)[0]
    assert type(result) is not type(module), "torch left the module as it was"
    return result


def dequantised(net, problem):
    """The problem with the weights that a quantised net has, in float64."""
    weights = net.get_weight() | net.get_bias()
    values = {
        name: p.int_repr().numpy() * p.q_scale() if p.is_quantized else array_of(p)
        for name, p in weights.items()
    }
    params = {}
    for name, p in problem.params.items():
        value = values.get(name, values.get(name.removesuffix("_l0")))  # a cell has no layers
        assert value.shape == p.shape
        params[name] = np.asarray(value, np.float64)
    return problem._replace(params=params)


HALF = [
    pinned(layout="packed", lengths=(2, 5, 1), bidirectional=True),
    pinned(layout="batch"),
    pinned(cell="GRU", bidirectional=True, cotangents=("output", "h_n")),
    pinned(cell="GRU", layout="packed", lengths=(2, 5, 1), cotangents=("output", "h_n")),
]


@pytest.mark.parametrize("case", HALF, ids=lambda c: c.id)
def test_a_net_with_weights_in_float16_is_the_net_of_the_rounded_weights(case):
    problem = draw(case)
    rounded = problem._replace(
        params={
            name: p.astype(np.float16).astype(np.float64) if name.startswith("weight") else p
            for name, p in problem.params.items()
        }
    )
    net = quantised(module_of(problem), torch.float16)
    results = call(net, problem, leaves={})
    agrees(results, rounded)
    differs(results, problem)


STEPS = 127  # of what a product takes: torch leaves one bit free, so that sums do not saturate


def on_steps(rng, shape):
    """Numbers that torch's rounding to STEPS steps leaves as they are: k / 64, −1 ≤ · ≤ 63/64, of
    which each row [I] has both extremes."""
    value = rng.integers(-64, 64, shape) / 64
    value[..., 0], value[..., 1] = -1, 63 / 64
    return value


def rounded_to_steps(h):
    """h [B, H] as torch rounds it for a product: to STEPS steps from its smallest to its largest
    element, one of which is 0."""
    low, high = min(h.min(), 0), max(h.max(), 0)
    scale = (np.float64(high) - np.float64(low)) / STEPS
    zero = round(-low / scale)
    return (np.clip(np.rint(h / np.float32(scale)) + zero, 0, STEPS) - zero) * scale


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["GRU", "LSTM"])
def test_a_step_of_a_net_with_weights_in_int8(cell, bidirectional):
    cotangents = ("output", "h_n", "c_n")[: 3 if cell == "LSTM" else 2]
    case = pinned(cell=cell, T=1, B=5, layers=1, bidirectional=bidirectional, cotangents=cotangents)
    problem, rng = draw(case), np.random.default_rng(1)
    h, *c = problem.state
    problem = problem._replace(x=on_steps(rng, problem.x.shape), state=(on_steps(rng, h.shape), *c))
    net = quantised(module_of(problem), torch.qint8)
    results = call(net, problem, leaves={})
    agrees(results, dequantised(net, problem))
    differs(results, problem)


@pytest.mark.parametrize("cell", ["RNN_TANH", "RNN_RELU", "GRU", "LSTM"])
def test_a_cell_with_weights_in_int8(cell):
    cotangents = ("output", "h_n", "c_n")[: 3 if cell == "LSTM" else 2]
    problem = draw(pinned(cell=cell, T=1, B=5, layers=1, cotangents=cotangents))
    rng, mode = np.random.default_rng(1), problem.net.mode
    h, *c = problem.state
    problem = problem._replace(x=on_steps(rng, problem.x.shape), state=(on_steps(rng, h.shape), *c))
    options = {"nonlinearity": mode.removeprefix("RNN_").lower()} if "RNN" in mode else {}
    module = getattr(torch.nn, f"{type(problem.net).__name__}Cell")(4, 6, **options)
    module.load_state_dict(
        {name.removesuffix("_l0"): tensor_of(p) for name, p in problem.params.items()}
    )
    net = quantised(module, torch.qint8)
    x, *state = (tensor_of(a[0]) for a in (problem.x, *problem.state))
    final = net(x, tuple(state) if len(state) > 1 else state[0])
    values = [array_of(s)[None] for s in (final if isinstance(final, tuple) else (final,))]
    results = {"output": values[0]} | dict(zip(("h_n", "c_n"), values, strict=False))
    agrees(results, dequantised(net, problem))
    differs(results, problem)


def test_each_step_of_an_lstm_with_weights_in_int8_rounds_the_state_before():
    """The state after t steps is that of a call with the first t steps; from the state before, h
    rounded and c not, the truth makes one step."""
    problem = draw(pinned(T=6, B=5, layers=1))
    problem = problem._replace(x=on_steps(np.random.default_rng(1), problem.x.shape), state=None)
    net = quantised(module_of(problem), torch.qint8)
    one_step = dequantised(net, problem)
    x = tensor_of(problem.x)
    before = np.zeros((5, 6), np.float32), np.zeros((5, 6), np.float32)
    for t in range(6):
        output, (h, c) = net(x[: t + 1])
        h, c = array_of(h), array_of(c)
        state = [s.astype(np.float64) for s in before]
        if t:
            state[0] = rounded_to_steps(state[0])
        step = one_step._replace(x=problem.x[t : t + 1], state=tuple(s[None] for s in state))
        results = {"output": array_of(output[t:]), "h_n": h, "c_n": c}
        step = step._replace(d_output=problem.d_output[:1])
        agrees(results, step)
        if t:
            differs(results, step._replace(state=tuple(s.astype(float)[None] for s in before)))
        before = h[0], c[0]
