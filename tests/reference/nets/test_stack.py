"""Stacked layers and two directions: what is concatenated and returned as h_n."""

import numpy as np
import pytest

from reference import GRU, LSTM, RNN
from support import textbook
from support.problems import draw, pull_back, sequences, solve, solve_by_torch
from support.verdicts import agree, random_like

MAKE = {
    "tanh": lambda **options: RNN(4, 6, **options),
    "relu": lambda **options: RNN(4, 6, nonlinearity="relu", **options),
    "gru": lambda **options: GRU(4, 6, **options),
    "lstm": lambda **options: LSTM(4, 6, **options),
    "projected": lambda **options: LSTM(4, 6, proj_size=5, **options),
}
every_kind = pytest.mark.parametrize("kind", MAKE)


def of_layer(problem, suffix):
    """The parameters of one layer and direction, under the names of a cell."""
    end = f"_{suffix}"
    return {k.removesuffix(end): v for k, v in problem.inputs.items() if k.endswith(end)}


@pytest.mark.claim("A3", "A5")
@every_kind
@pytest.mark.parametrize("layers", [1, 3])
def test_the_last_output_is_the_last_state_of_the_last_layer_only_in_one_direction(kind, layers):
    one, _ = solve(draw(MAKE[kind](num_layers=layers)))
    assert np.array_equal(one["output"][-1], one["h_n"][-1])
    two, _ = solve(draw(MAKE[kind](num_layers=layers, bidirectional=True)))
    forward, reverse = np.split(two["output"], 2, axis=2)
    assert np.array_equal(forward[-1], two["h_n"][-2])
    assert np.array_equal(reverse[0], two["h_n"][-1]), "the reverse half ends at step 0"
    assert np.all(np.abs(reverse[-1] - two["h_n"][-1]).max(axis=-1) > 1e-3)


@pytest.mark.claim("A3")
@every_kind
@pytest.mark.parametrize("bidirectional", [False, True])
def test_h_n_holds_the_last_state_of_every_layer_not_only_of_the_last(kind, bidirectional):
    deep = draw(MAKE[kind](num_layers=3, bidirectional=bidirectional))
    whole, _ = solve(deep)
    for layers in (1, 2):
        shallow = draw(MAKE[kind](num_layers=layers, bidirectional=bidirectional))
        depth = layers * (1 + bidirectional)
        for name, value in shallow.inputs.items():
            same = deep.inputs[name]
            shallow.inputs[name] = same[:depth] if name in ("h_0", "c_0") else same
            assert shallow.inputs[name].shape == value.shape
        outputs, _ = solve(shallow)
        for name in set(outputs) - {"output"}:
            assert np.array_equal(outputs[name], whole[name][:depth])


@pytest.mark.claim("A4")
@every_kind
def test_layers_outside_and_time_inside_is_time_outside_and_layers_inside(kind):
    problem = draw(MAKE[kind](num_layers=3))
    whole, _ = solve(problem)
    step = textbook.STEP[problem.net.mode]
    params = [of_layer(problem, f"l{k}") for k in range(3)]
    names = [name for name in ("h_0", "c_0") if name in problem.inputs]
    for b in range(3):
        state = [[problem.inputs[name][k, b] for name in names] for k in range(3)]
        for t, y in enumerate(problem.inputs["x"][:, b]):
            for k in range(3):
                state[k] = step(params[k], y, *state[k])
                y = state[k][0]
            np.testing.assert_allclose(whole["output"][t, b], y, rtol=0, atol=1e-14)
        for name, values in zip(("h_n", "c_n"), zip(*state, strict=True), strict=False):
            np.testing.assert_allclose(whole[name][:, b], values, rtol=0, atol=1e-14)


def as_documented(params, x, h_0, in_place):
    """The forward pass printed in torch.nn.RNN's documentation, or its out-of-place variant."""
    import torch

    layers = len(h_0)
    h_t_minus_1, h_t = h_0.clone(), h_0.clone()
    output = []
    for x_t in x:
        fresh = []
        for layer in range(layers):
            input_t = x_t if layer == 0 else (h_t[layer - 1] if in_place else fresh[-1])
            new = torch.tanh(
                input_t @ params[f"weight_ih_l{layer}"].T
                + h_t_minus_1[layer] @ params[f"weight_hh_l{layer}"].T
                + params[f"bias_hh_l{layer}"]
                + params[f"bias_ih_l{layer}"]
            )
            fresh.append(new)
            if in_place:
                h_t[layer] = new
        h_t = h_t if in_place else torch.stack(fresh)
        output.append(h_t[-1].clone())
        h_t_minus_1 = h_t.clone()
    return torch.stack(output), h_t


def documented_run(problem, in_place):
    """Its outputs, and the tensors it read."""
    import torch

    leaves = {k: torch.tensor(v, requires_grad=True) for k, v in problem.inputs.items()}
    output, h_n = as_documented(leaves, leaves["x"], leaves["h_0"], in_place)
    return {"output": output, "h_n": h_n}, leaves


@pytest.mark.claim("A4")
@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("layers", [1, 3])
def test_the_documented_forward_gives_the_values_of_torch_s_module_and_ours(layers, in_place):
    problem = draw(RNN(4, 6, layers))
    outputs, _ = solve(problem)
    by_hand, _ = documented_run(problem, in_place)
    agree({k: v.detach().numpy() for k, v in by_hand.items()}, outputs)
    agree(solve_by_torch(problem, random_like(outputs))[0], outputs)


@pytest.mark.claim("A4′")
@pytest.mark.parametrize("layers", [2, 3])
def test_the_documented_forward_cannot_train_a_stack_because_it_writes_in_place(layers):
    outputs, _ = documented_run(draw(RNN(4, 6, layers)), in_place=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs["output"].sum().backward()


@pytest.mark.claim("A4′")
@pytest.mark.parametrize(("layers", "in_place"), [(1, True), (1, False), (2, False), (3, False)])
def test_out_of_place_or_in_one_layer_the_documented_forward_has_our_gradients(layers, in_place):
    import torch

    problem = draw(RNN(4, 6, layers))
    values, leaves = documented_run(problem, in_place)
    outputs, tape = solve(problem)
    cotangents = random_like(outputs)
    grads = torch.autograd.grad(
        [values[name] for name in cotangents],
        list(leaves.values()),
        [torch.tensor(d) for d in cotangents.values()],
    )
    found = {name: d.numpy() for name, d in zip(leaves, grads, strict=True)}
    agree(found, pull_back(problem, tape, cotangents))


@pytest.mark.claim("A5")
@every_kind
def test_the_two_directions_are_concatenated_and_the_second_starts_at_each_sequence_s_end(kind):
    problem = draw(MAKE[kind](bidirectional=True), lengths=[2, 5, 4])
    whole, _ = solve(problem)
    mode, inputs = problem.net.mode, problem.inputs
    rows = zip(sequences(problem, inputs["x"]), sequences(problem, whole["output"]), strict=True)
    for b, (x, output) in enumerate(rows):
        halves = []
        for direction, suffix in enumerate(("l0", "l0_reverse")):
            state = [inputs[name][direction, b] for name in ("h_0", "c_0") if name in inputs]
            backwards = slice(None, None, 1 - 2 * direction)
            y, last = textbook.layer(mode, of_layer(problem, suffix), x[backwards], *state)
            halves.append(y[backwards])
            for name, value in zip(("h_n", "c_n"), last, strict=False):
                np.testing.assert_allclose(whole[name][direction, b], value, rtol=0, atol=1e-14)
        np.testing.assert_allclose(output, np.hstack(halves), rtol=0, atol=1e-14)


@pytest.mark.claim("A5")
@every_kind
def test_the_layer_above_reads_both_directions(kind):
    problem = draw(MAKE[kind](num_layers=2, bidirectional=True))
    before, _ = solve(problem)
    for half in np.split(np.arange(problem.inputs["weight_ih_l1"].shape[1]), 2):
        weight = problem.inputs["weight_ih_l1"].copy()
        weight[:, half] = 0
        after, _ = solve(problem.with_inputs(weight_ih_l1=weight))
        assert np.all(np.abs(after["h_n"][2] - before["h_n"][2]).max(axis=-1) > 1e-3)


@pytest.mark.parametrize("kind", [RNN, GRU, LSTM])
def test_gradients_come_in_the_order_of_the_parameters(kind):
    problem = draw(kind(3, 4, num_layers=2, bidirectional=True))
    _, tape = solve(problem)
    grads = problem.net.backward(tape)
    assert list(grads.params) == list(problem.net.parameter_shapes())
