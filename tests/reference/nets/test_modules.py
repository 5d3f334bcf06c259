"""RNN, GRU and LSTM with every option of torch.nn's modules, against torch's modules."""

import inspect
from dataclasses import replace
from itertools import chain, combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from reference import GRU, LSTM, RNN
from support.problems import cast, draw, is_cell, pull_back, solve, solve_by_torch, torch_module
from support.strategies import cells, nets, problems, seeds, sizes
from support.verdicts import (
    adjoint_identity_holds,
    agree,
    agrees_with_torch,
    agrees_with_torch_within_rounding,
    keeps_dtype,
    random_like,
)

MAKE = {
    "tanh": lambda **options: RNN(4, 6, **options),
    "relu": lambda **options: RNN(4, 6, nonlinearity="relu", **options),
    "gru": lambda **options: GRU(4, 6, **options),
    "lstm": lambda **options: LSTM(4, 6, **options),
    "projected": lambda **options: LSTM(4, 6, proj_size=5, **options),
}
LAYOUTS = {
    "batched": {"T": 5, "B": 3},
    "batch_first": {"T": 5, "B": 3},
    "unbatched": {"T": 5, "unbatched": True},
    "packed": {"lengths": [2, 5, 4]},
}
every_kind = pytest.mark.parametrize("kind", MAKE)
booleans = (False, True)


def subsets(names):
    """Every choice of at least one name."""
    return list(chain.from_iterable(combinations(names, n + 1) for n in range(len(names))))


@pytest.mark.claim("A2")
@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"])
def test_the_constructor_takes_torch_s_arguments_in_torch_s_order(name):
    import torch

    def arguments(function, but):
        parameters = inspect.signature(function).parameters.items()
        return [(key, p.default) for key, p in parameters if key not in but]

    ours = arguments(getattr(reference, name), ("proj_size",))
    theirs = getattr(torch.nn, name)
    if name in ("RNN", "GRU", "LSTM"):  # torch's take *args; their defaults are RNNBase's
        spelled = arguments(torch.nn.RNNBase.__init__, ("self", "mode", "proj_size"))
        assert [a for a in ours if a[0] != "nonlinearity"] == [
            a for a in spelled if a[0] not in ("device", "dtype")
        ]
        positional = (4, 6, 2, "relu", False) if name == "RNN" else (4, 6, 2, False, True)
        made = getattr(reference, name)(*positional)
        assert all(getattr(theirs(*positional), key) == getattr(made, key) for key, _ in ours)
    else:
        assert ours == arguments(theirs.__init__, ("self", "device", "dtype"))


@pytest.mark.claim("A2")
@every_kind
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_option_and_choice_of_cotangents_gives_torch_s_values_and_gradients(kind, layout):
    options = product((1, 3), booleans, booleans, booleans)
    for turn, (layers, bidirectional, bias, state) in enumerate(options):
        net = MAKE[kind](
            num_layers=layers,
            bias=bias,
            batch_first=layout == "batch_first",
            bidirectional=bidirectional,
        )
        problem = draw(net, **LAYOUTS[layout], state=state, seed=turn)
        outputs, tape = solve(problem)
        choices = subsets(outputs)
        for chosen in {choices[-1], choices[turn % len(choices)]}:
            cotangents = {name: d for name, d in random_like(outputs).items() if name in chosen}
            values, grads = solve_by_torch(problem, cotangents)
            agree(outputs, values)
            agree(pull_back(problem, tape, cotangents), grads)


@given(problems())
def test_any_net_on_any_layout_agrees_with_torch(problem):
    agrees_with_torch(problem)


@every_kind
@given(data=st.data())
def test_any_net_on_any_layout_agrees_with_torch_in_float32_to_rounding(kind, data):
    net = MAKE[kind](
        num_layers=data.draw(st.integers(1, 3)), bidirectional=data.draw(st.booleans())
    )
    agrees_with_torch_within_rounding(data.draw(problems(st.just(net))))


@given(problems())
def test_the_adjoint_identity_holds(problem):
    adjoint_identity_holds(problem)


@every_kind
def test_the_adjoint_identity_holds_in_extended_precision(kind):
    net = MAKE[kind](num_layers=3, bidirectional=True)
    wide = cast(draw(net, lengths=[2, 5, 4]), np.longdouble)
    adjoint_identity_holds(wide, 64 * np.finfo(np.longdouble).eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble, np.complex128])
@every_kind
def test_values_and_gradients_keep_the_dtype(kind, dtype):
    keeps_dtype(draw(MAKE[kind](num_layers=2, bidirectional=True)), dtype)


@pytest.mark.claim("A8", "A5′")
@given(nets())
def test_parameters_have_torch_s_names_shapes_and_order(net):
    named = torch_module(net).named_parameters()
    assert list(net.parameter_shapes().items()) == [(name, tuple(p.shape)) for name, p in named]


@pytest.mark.claim("A8")
@given(cells())
def test_a_cell_s_parameters_have_torch_s_names_and_shapes(problem):
    named = torch_module(problem.net).named_parameters()
    assert problem.net.parameter_shapes() == {name: tuple(p.shape) for name, p in named}


@pytest.mark.claim("A8", "A5′")
@given(nets())
def test_the_number_of_parameters_is_the_formula(net):
    G = {"RNN_TANH": 1, "RNN_RELU": 1, "GRU": 3, "LSTM": 4}[net.mode]
    I, H, L, D = net.input_size, net.hidden_size, net.num_layers, 1 + net.bidirectional  # noqa: E741
    P, proj = net.proj_size or H, (net.proj_size or 0) * H
    per_direction = [G * H * (w + P + 2 * net.bias) + proj for w in [I] + [D * P] * (L - 1)]
    assert count(net) == D * sum(per_direction)


def count(net):
    """The number of parameters."""
    return sum(int(np.prod(shape)) for shape in net.parameter_shapes().values())


@pytest.mark.claim("A5′")
@pytest.mark.parametrize(("layers", "ratio"), [(1, 2), (2, 2.54), (3, 2.69)])
def test_two_directions_double_the_parameters_of_one_layer_but_of_no_deeper_net(layers, ratio):
    one, two = (RNN(10, 20, layers, bidirectional=both) for both in (False, True))
    assert round(count(two) / count(one), 2) == ratio


@every_kind
def test_initial_parameters_are_uniform_within_one_over_the_root_of_the_hidden_size(kind):
    net = MAKE[kind](num_layers=3)
    params = net.init(np.random.default_rng(0))
    assert {name: p.shape for name, p in params.items()} == net.parameter_shapes()
    drawn = np.concatenate([p.ravel() for p in params.values()]) * 6**0.5
    assert np.abs(drawn).max() <= 1
    assert abs(drawn.mean()) < 4 / (3 * len(drawn)) ** 0.5
    assert abs((drawn**2).mean() - 1 / 3) < 4 * (4 / 45 / len(drawn)) ** 0.5
    again = net.init(np.random.default_rng(0))
    agree(params, again, 0)


@pytest.mark.claim("A3")
@given(nets(), st.booleans(), sizes, sizes)
def test_shapes_are_those_torch_documents(net, unbatched, T, B):
    outputs, _ = solve(draw(net, T, B, unbatched=unbatched))
    L, D, H = net.num_layers, 1 + net.bidirectional, net.hidden_size
    P, batch = net.proj_size or H, () if unbatched else (B,)
    outer = (T,) if unbatched else (B, T) if net.batch_first else (T, B)
    expected = {"output": (*outer, D * P), "h_n": (L * D, *batch, P), "c_n": (L * D, *batch, H)}
    assert {k: v.shape for k, v in outputs.items()} == {k: expected[k] for k in outputs}


@pytest.mark.claim("A2")
@given(nets(), sizes, sizes, seeds, st.booleans())
def test_batch_first_swaps_the_axes_of_x_and_output_and_touches_no_state(net, T, B, seed, state):
    problem = draw(net, T, B, state=state, seed=seed)
    turned = replace(problem, net=replace(net, batch_first=not net.batch_first))
    turned = turned.with_inputs(x=problem.inputs["x"].swapaxes(0, 1))
    (outputs, tape), (others, other_tape) = solve(problem), solve(turned)
    cotangents = random_like(outputs)
    swapped = cotangents | {"output": cotangents["output"].swapaxes(0, 1)}
    grads = pull_back(problem, tape, cotangents)
    other_grads = pull_back(turned, other_tape, swapped)
    agree(others | {"output": others["output"].swapaxes(0, 1)}, outputs, 0)
    agree(other_grads | {"x": other_grads["x"].swapaxes(0, 1)}, grads, 0)


@pytest.mark.claim("A2")
@given(nets(), sizes, seeds, st.booleans())
def test_an_unbatched_sequence_is_a_batch_of_one(net, T, seed, state):
    net = replace(net, batch_first=False)
    one = draw(net, T, unbatched=True, state=state, seed=seed)
    arrays = {k: v[:, None] for k, v in one.inputs.items() if k in ("x", "h_0", "c_0")}
    outputs, tape = solve(one)
    cotangents = random_like(outputs)
    batch = one.with_inputs(**arrays)
    batched_outputs, batched_tape = solve(batch)
    grads = pull_back(batch, batched_tape, {k: v[:, None] for k, v in cotangents.items()})
    agree(outputs, {k: v[:, 0] for k, v in batched_outputs.items()}, 0)
    expected = grads | {k: grads[k][:, 0] for k in arrays}
    agree(pull_back(one, tape, cotangents), expected, 0)


@pytest.mark.claim("A2")
@given(problems(state=True))
def test_a_missing_state_is_a_state_of_zeros(problem):
    states = [k for k in ("h_0", "c_0") if k in problem.inputs]
    zero = problem.with_inputs(**{k: np.zeros_like(problem.inputs[k]) for k in states})
    without = replace(problem, inputs={k: v for k, v in problem.inputs.items() if k not in states})
    (outputs, tape), (expected, expected_tape) = solve(without), solve(zero)
    cotangents = random_like(outputs)
    grads = pull_back(without, tape, cotangents)
    expected_grads = pull_back(zero, expected_tape, cotangents)
    agree(outputs, expected, 0)
    agree(grads, {k: expected_grads[k] for k in grads}, 0)


@given(problems() | cells())
def test_the_results_of_forward_are_read_only_where_backward_reads_them(problem):
    outputs, tape = solve(problem)
    cotangents = random_like(outputs)
    expected = pull_back(problem, tape, cotangents)
    returned = outputs if is_cell(problem.net) else {"output": outputs.pop("output")}
    for value in returned.values():
        with pytest.raises(ValueError, match="read-only"):
            value[...] = 0
    for value in () if is_cell(problem.net) else outputs.values():
        value[...] = 0
    agree(pull_back(problem, tape, cotangents), expected, 0)
