"""Modules of torch.nn with a problem's weights, their results by name, and the judgment of those.

`torch_impl.execution.run` builds its own modules. These helpers take one that a test has built,
copied, loaded or changed.
"""

import numpy as np
import torch

from bptt_oracle.judging.judge import LIMIT, judge
from bptt_oracle.judging.truth import expect
from support.drawn_cases import pinned
from torch_impl.execution.dtypes import DTYPES, array_of
from torch_impl.execution.precision import stored
from torch_impl.execution.variants import gradients
from torch_impl.nets.modules import call_module

# a net that oneDNN computes, and nets that ATen computes
CASES = [
    pinned(),
    pinned(bidirectional=True, layout="packed", lengths=(2, 5, 1), P=2),
    pinned(cell="GRU", bidirectional=True, layout="batch", cotangents=("output", "h_n")),
    pinned(cell="RNN_TANH", layout="packed", lengths=(2, 5, 1), cotangents=("output", "h_n")),
]


def tensor_of(array, dtype="float32"):
    """A new tensor of the array's values, rounded to the dtype."""
    return torch.tensor(stored(array, dtype), dtype=DTYPES[dtype])


def module_of(problem, dtype="float32", device="cpu"):
    """torch.nn's module with the problem's weights. One array under two names becomes one
    parameter. On the device "meta" the module has no values."""
    net = problem.net
    options = {"proj_size": net.proj_size} if net.mode == "LSTM" else {}
    if net.mode.startswith("RNN"):
        options["nonlinearity"] = net.nonlinearity
    module = getattr(torch.nn, type(net).__name__)(
        net.input_size,
        net.hidden_size,
        num_layers=net.num_layers,
        bias=net.bias,
        batch_first=net.batch_first,
        dropout=net.dropout,
        bidirectional=net.bidirectional,
        device=device,
        dtype=DTYPES[dtype],
        **options,
    )
    if device != "meta":
        shared = {id(p): torch.nn.Parameter(tensor_of(p, dtype)) for p in problem.params.values()}
        for name, p in problem.params.items():
            setattr(module, name, shared[id(p)])
    return module


def inputs_of(problem, dtype="float32"):
    """x and the initial state as leaves of a graph; the state is None if the problem has none."""
    x = tensor_of(problem.x, dtype).requires_grad_()
    if problem.state is None:
        return x, None
    return x, [tensor_of(s, dtype).requires_grad_() for s in problem.state]


def cotangents_of(problem, dtype="float32"):
    """The cotangents of output, h_n and c_n; None where there is none."""
    return [
        None if d is None else tensor_of(d, dtype) for d in (problem.d_output, *problem.d_state)
    ]


def values_by_name(values):
    """Arrays by name of the tensors output, h_n and c_n."""
    return dict(zip(("output", "h_n", "c_n"), map(array_of, values), strict=False))


def call(module, problem, dtype="float32", leaves=None):
    """Output, final states and all gradients by name. `leaves` are the parameters by name, those of
    the module unless given; without any, only values are computed."""
    if leaves is None:
        leaves = {name: getattr(module, name) for name in problem.params}
    x, state = inputs_of(problem, dtype)
    output, final = call_module(
        module, problem.net, x, problem.lengths, problem.enforce_sorted, state
    )
    values = [output, *final]
    if not leaves:
        return values_by_name(values)
    of = [x, *(state or []), *leaves.values()]
    names = ["x", *["h_0", "c_0"][: len(state or [])], *leaves]
    grads = gradients(values, of, cotangents_of(problem, dtype))
    return values_by_name(values) | {
        f"d_{name}": array_of(torch.zeros_like(leaf) if d is None else d)
        for name, leaf, d in zip(names, of, grads, strict=True)
    }


def backward(module, problem):
    """Call a float32 module and run the backward pass, which writes `grad` of every parameter."""
    x, state = inputs_of(problem)
    output, final = call_module(
        module, problem.net, x, problem.lengths, problem.enforce_sorted, state
    )
    pairs = zip([output, *final], cotangents_of(problem), strict=True)
    torch.autograd.backward(*zip(*[(y, d) for y, d in pairs if d is not None], strict=True))


def judgment(results, problem, dtype="float32", masks=(), **precision):
    """The verdict on the tensors that are in `results`."""
    expected = expect(problem, dtype, masks=masks, **precision)
    truth = {name: value for name, value in expected.truth.items() if name in results}
    assert truth.keys() == results.keys(), "every result must have a truth"
    return judge(results, expected._replace(truth=truth))


def agrees(results, problem, dtype="float32", masks=(), **precision):
    """Assert that every tensor of `results` agrees with truth."""
    verdict = judgment(results, problem, dtype, masks, **precision)
    assert verdict.word == "agree", verdict.worst


def differs(results, problem, dtype="float32", masks=()):
    """Assert that the results are not those of this problem: a control, that the problem from which
    they should come could be told from this one."""
    assert judgment(results, problem, dtype, masks).worst.R > LIMIT


def with_params(problem, change):
    """The problem with change(array) for each array of a parameter; tied ones stay tied."""
    changed = {id(p): change(p) for p in problem.params.values()}
    return problem._replace(params={name: changed[id(p)] for name, p in problem.params.items()})


def halved(problem):
    """The problem with half of every weight, which is exact in every dtype."""
    return with_params(problem, lambda p: p / 2)


def values_of(value):
    """A tensor's values in float64, for the arrays of a problem."""
    return array_of(value).astype(np.float64)
