"""torch.func over nets: gradients of each sample, nets of other weights, batches of cotangents."""

import pytest
import torch
from torch.func import functional_call, vjp, vmap

from bptt_oracle.cases.case import draw
from support.drawn_cases import pinned, rng_of
from support.nn_modules import (
    agrees,
    cotangents_of,
    differs,
    inputs_of,
    module_of,
    tensor_of,
)
from torch_impl.execution.dtypes import array_of
from torch_impl.nets.modules import loop_of_cells

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")

# [T, 1, I] for each sample; of the LSTM oneDNN computes one, and ATen the other
NETS = [
    pinned(B=1),
    pinned(B=1, bidirectional=True, P=2),
    pinned(B=1, cell="GRU", bidirectional=True, cotangents=("output", "h_n")),
    pinned(B=1, cell="RNN_TANH", bias=False, cotangents=("output", "h_n")),
]
SAMPLES = 3
each_net = pytest.mark.parametrize("case", NETS, ids=lambda c: c.id)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def samples_of(case, share_weights):
    """Problems of the same shapes with other numbers; with one set of weights, or each its own."""
    problems = [draw(case._replace(seed=case.seed + k)) for k in range(SAMPLES)]
    return [p._replace(params=problems[0].params) for p in problems] if share_weights else problems


def stacked(problems, arrays, dtype):
    """The tensors [SAMPLES, …] of each array in the list arrays(problem)."""
    lists = zip(*map(arrays, problems), strict=True)
    return [torch.stack([tensor_of(a, dtype) for a in column]) for column in lists]


def judge_each_sample(forward, problems, dtype, share_weights):
    """Judge forward(params, x, state) → outputs and its gradients, under vmap over the samples."""
    names = list(problems[0].params)
    x, *state = stacked(problems, lambda p: [p.x, *p.state], dtype)
    cotangents = stacked(problems, lambda p: [p.d_output, *p.d_state], dtype)
    if share_weights:
        weights = [tensor_of(p, dtype) for p in problems[0].params.values()]
    else:
        weights = stacked(problems, lambda p: p.params.values(), dtype)

    def outputs_and_grads(weights, x, state, cotangents):
        outputs, pull_back = vjp(
            lambda w, x, state: forward(dict(zip(names, w, strict=True)), x, state),
            weights,
            x,
            state,
        )
        d_weights, d_x, d_state = pull_back(cotangents)
        return outputs, [d_x, *d_state, *d_weights]

    batched = vmap(outputs_and_grads, (None if share_weights else 0, 0, 0, 0))
    outputs, grads = batched(weights, x, state, cotangents)
    values = dict(zip(("output", "h_n", "c_n"), outputs, strict=False))
    inputs = ["x", *["h_0", "c_0"][: len(state)], *names]
    values |= {f"d_{name}": d for name, d in zip(inputs, grads, strict=True)}
    for k, problem in enumerate(problems):
        results = {name: array_of(value[k]) for name, value in values.items()}
        agrees(results, problem, dtype)
        differs(results, problems[k - 1], dtype)


@pytest.mark.parametrize("share_weights", [True, False], ids=["per-sample", "ensemble"])
@each_dtype
@each_net
def test_gradients_of_each_sample_under_vmap(case, dtype, share_weights):
    problems = samples_of(case, share_weights)
    module = module_of(problems[0], dtype)

    def forward(params, x, state):
        initial = tuple(state) if len(state) > 1 else state[0]
        output, final = functional_call(module, params, (x, initial))
        return [output, *(final if isinstance(final, tuple) else (final,))]

    judge_each_sample(forward, problems, dtype, share_weights)


@each_dtype
@each_net
def test_a_batch_of_cotangents(case, dtype):
    """autograd.grad with is_grads_batched: one graph, several cotangents at once."""
    problem = draw(case)
    rng = rng_of(case)
    others = [
        problem._replace(
            d_output=rng.standard_normal(problem.d_output.shape),
            d_state=tuple(rng.standard_normal(d.shape) for d in problem.d_state),
        )
        for _ in range(SAMPLES)
    ]
    module = module_of(problem, dtype)
    x, state = inputs_of(problem, dtype)
    output, final = module(x, tuple(state) if case.cell == "LSTM" else state[0])
    outputs = [output, *(final if isinstance(final, tuple) else (final,))]
    cotangents = [
        torch.stack(column)
        for column in zip(*(cotangents_of(other, dtype) for other in others), strict=True)
    ]
    leaves = [x, *state, *module.parameters()]
    names = ["x", *["h_0", "c_0"][: len(state)], *(n for n, _ in module.named_parameters())]
    grads = torch.autograd.grad(outputs, leaves, cotangents, is_grads_batched=True)
    for k, other in enumerate(others):
        results = {f"d_{n}": array_of(d[k]) for n, d in zip(names, grads, strict=True)}
        agrees(results, other, dtype)
        differs(results, others[k - 1], dtype)


def cell_steps(net):
    """Steps of torch.nn's cells for `loop_of_cells`, whose parameters need not be leaves."""
    widths = [net.input_size] + [net.hidden_size] * (net.num_layers - 1)
    kind = getattr(torch.nn, f"{type(net).__name__}Cell")
    cells = [kind(width, net.hidden_size) for width in widths]

    def step_of(net, params, layer, direction):
        suffix = f"_l{layer}"
        weights = {n.removesuffix(suffix): p for n, p in params.items() if n.endswith(suffix)}

        def step(x, state):
            initial = tuple(state) if len(state) > 1 else state[0]
            h = functional_call(cells[layer], weights, (x, initial))
            return h if isinstance(h, tuple) else (h,)

        return step

    return step_of


@each_dtype
@pytest.mark.parametrize("cell", ["RNN_TANH", "GRU", "LSTM"])
def test_gradients_of_each_sample_through_a_loop_of_cells(cell, dtype):
    cotangents = ("output", "h_n", "c_n")[: 3 if cell == "LSTM" else 2]
    problems = samples_of(pinned(B=1, cell=cell, cotangents=cotangents), True)
    net = problems[0].net
    steps = cell_steps(net)

    def forward(params, x, state):
        output, final = loop_of_cells(net, params, x, None, [], state, steps)
        return [output, *final]

    judge_each_sample(forward, problems, dtype, True)
