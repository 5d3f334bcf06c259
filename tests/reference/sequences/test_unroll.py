"""A layer is its cell step after step; its gradient is the sum over untied copies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from support import textbook
from support.problems import cast, draw, pull_back, sequences, solve, torch_module
from support.strategies import cells, nets, problems, seeds, sizes
from support.verdicts import adjoint_identity_holds, agree, random_like

DTYPES = [np.float32, np.float64, np.longdouble, np.complex128]
LAYERS = {
    "tanh": (RNN(4, 6), RNNCell(4, 6)),
    "relu": (RNN(4, 6, nonlinearity="relu"), RNNCell(4, 6, nonlinearity="relu")),
    "gru": (GRU(4, 6), GRUCell(4, 6)),
    "lstm": (LSTM(4, 6), LSTMCell(4, 6)),
}
every_layer = pytest.mark.parametrize("kind", LAYERS)
one_layer = nets(layers=1)
one_way = nets(layers=1, directions=[False])


def plain_params(problem):
    """The parameters of a single layer, under the names of a single cell."""
    return {k.removesuffix("_l0"): v for k, v in problem.inputs.items() if k.endswith("_l0")}


@pytest.mark.claim("A1")
@pytest.mark.parametrize("dtype", DTYPES)
@every_layer
def test_a_layer_is_the_textbook_step_after_step_and_its_output_is_the_hidden_state(kind, dtype):
    problem = cast(draw(LAYERS[kind][0]), dtype)
    outputs, _ = solve(problem)
    params, eps = plain_params(problem), float(np.finfo(dtype).eps)
    for b in range(3):
        state = [problem.inputs[name][0, b] for name in ("h_0", "c_0") if name in problem.inputs]
        x = problem.inputs["x"][:, b]
        output, last = textbook.layer(problem.net.mode, params, x, *state)
        assert np.abs(outputs["output"][:, b] - output).max() <= 128 * eps
        for name, value in zip(("h_n", "c_n"), last, strict=False):
            assert np.abs(outputs[name][0, b] - value).max() <= 128 * eps


@pytest.mark.claim("A9", "B6")
@every_layer
@given(T=sizes, B=sizes, seed=seeds)
def test_a_loop_of_cells_is_the_layer_and_untied_copies_summed_are_its_gradient(kind, T, B, seed):
    layer, cell = LAYERS[kind]
    problem = draw(layer, T, B, seed=seed)
    outputs, tape = solve(problem)
    cotangents = random_like(outputs)
    params, tapes, output = plain_params(problem), [], []
    state = [problem.inputs[name][0] for name in ("h_0", "c_0") if name in problem.inputs]
    for x_t in problem.inputs["x"]:
        after, tape_t = cell.forward(params, x_t, state if len(state) > 1 else state[0])
        state = list(after) if len(state) > 1 else [after]
        tapes.append(tape_t)
        output.append(state[0])
    found = {"output": np.array(output)}
    found |= {name: s[None] for name, s in zip(("h_n", "c_n"), state, strict=False)}
    agree(found, outputs, 1e-14, least=1)

    total, d_x = {name: 0 for name in params}, []
    d_state = [cotangents[name][0] for name in ("h_n", "c_n") if name in cotangents]
    for tape_t, d_output_t in zip(reversed(tapes), cotangents["output"][::-1], strict=True):
        d_state[0] = d_state[0] + d_output_t
        grads = cell.backward(tape_t, d_state if len(d_state) > 1 else d_state[0])
        d_state = list(grads.state) if len(d_state) > 1 else [grads.state]
        total = {name: total[name] + d for name, d in grads.params.items()}
        d_x.insert(0, grads.x)
    by_copies = {"x": np.array(d_x)} | {f"{name}_l0": d for name, d in total.items()}
    by_copies |= {name: d[None] for name, d in zip(("h_0", "c_0"), d_state, strict=False)}
    grads = pull_back(problem, tape, cotangents)
    agree({name: by_copies[name] for name in grads}, grads, 1e-13, least=1)


@pytest.mark.claim("A9")
@every_layer
def test_a_loop_of_torch_s_cells_over_batch_first_data_is_the_layer(kind):
    import torch

    layer, cell = LAYERS[kind]
    problem = draw(layer, state=False)
    module = torch_module(cell)
    for name, parameter in module.named_parameters():
        parameter.data = torch.tensor(problem.inputs[f"{name}_l0"])
    x = torch.tensor(problem.inputs["x"].swapaxes(0, 1), requires_grad=True)  # [B, T, D]
    state, output = None, []
    for t in range(x.shape[1]):
        state = module(x[:, t], state)
        output.append(state[0] if kind == "lstm" else state)
    output = torch.stack(output, dim=1)
    outputs, tape = solve(problem)
    cotangent = random_like(outputs)["output"]
    output.backward(torch.tensor(cotangent.swapaxes(0, 1)))
    grads = {f"{name}_l0": p.grad.numpy() for name, p in module.named_parameters()}
    grads["x"] = x.grad.numpy().swapaxes(0, 1)
    agree({"output": output.detach().numpy().swapaxes(0, 1)}, {"output": outputs["output"]})
    agree(pull_back(problem, tape, {"output": cotangent}), grads)


@given(problems(one_layer))
def test_the_adjoint_identity_holds(problem):
    adjoint_identity_holds(problem)


@every_layer
def test_the_adjoint_identity_holds_in_extended_precision(kind):
    problem = cast(draw(LAYERS[kind][0], lengths=[2, 5, 3]), np.longdouble)
    adjoint_identity_holds(problem, 64 * np.finfo(np.longdouble).eps)


@given(problems(one_way))
def test_the_state_after_a_sequence_is_the_output_of_its_own_last_step(problem):
    outputs, _ = solve(problem)
    last = [row[-1] for row in sequences(problem, outputs["output"])]
    assert np.array_equal(outputs["h_n"].reshape(len(last), -1), last)


@given(problems(one_way, layouts=["batched", "unbatched"]), st.data())
def test_no_output_depends_on_what_comes_later_and_its_gradient_there_is_exactly_zero(
    problem, data
):
    changed = problem.with_inputs(x=problem.inputs["x"].copy())
    rows = sequences(changed, changed.inputs["x"])  # views
    t = data.draw(st.integers(0, len(rows[0]) - 1))
    for row in rows:
        row[t + 1 :] *= -2
    outputs, tape = solve(problem)
    for before, after in zip(
        sequences(problem, outputs["output"]),
        sequences(problem, solve(changed)[0]["output"]),
        strict=True,
    ):
        assert np.array_equal(before[: t + 1], after[: t + 1])
    cotangent = random_like(outputs)["output"]
    for row in sequences(problem, cotangent):
        row[t + 1 :] = 0
    d_x = pull_back(problem, tape, {"output": cotangent})["x"]
    assert not any(row[t + 1 :].any() for row in sequences(problem, d_x))


@given(problems(one_layer))
def test_neither_pass_writes_to_its_arguments_and_a_tape_can_be_used_twice(problem):
    given_inputs = {name: v.copy() for name, v in problem.inputs.items()}
    outputs, tape = solve(problem)
    values = {name: v.copy() for name, v in outputs.items()}
    cotangents = random_like(outputs)
    given_cotangents = {name: v.copy() for name, v in cotangents.items()}
    first = pull_back(problem, tape, cotangents)
    copies = {name: v.copy() for name, v in first.items()}
    second = pull_back(problem, tape, cotangents)
    agree(problem.inputs, given_inputs, 0)
    agree(cotangents, given_cotangents, 0)
    agree(outputs, values, 0)
    agree(first, copies, 0)
    agree(second, copies, 0)


@given(st.one_of(problems(one_layer), cells()))
def test_every_gradient_has_memory_of_its_own(problem):
    outputs, tape = solve(problem)
    cotangents = random_like(outputs)
    grads = pull_back(problem, tape, cotangents)
    others = [*problem.inputs.values(), *outputs.values(), *cotangents.values()]
    for name, d in grads.items():
        rest = others + [value for other, value in grads.items() if other != name]
        assert not any(np.shares_memory(d, value) for value in rest), name


@every_layer
def test_missing_cotangents_count_as_zero(kind):
    problem = draw(LAYERS[kind][0])
    outputs, tape = solve(problem)
    zeros = {name: np.zeros_like(value) for name, value in outputs.items()}
    for name, cotangent in random_like(outputs).items():
        grads = pull_back(problem, tape, {name: cotangent})
        agree(grads, pull_back(problem, tape, zeros | {name: cotangent}), 0)
        assert all(d.any() for d in grads.values())


@every_layer
def test_without_any_cotangent_every_gradient_is_exactly_zero(kind):
    problem = draw(LAYERS[kind][0])
    _, tape = solve(problem)
    agree(pull_back(problem, tape, {}), {k: np.zeros_like(v) for k, v in problem.inputs.items()})


@every_layer
def test_a_batch_of_no_sequences_runs_forward_and_backward(kind):
    layer, cell = LAYERS[kind]
    for net in (layer, cell):
        problem = draw(net, B=0)
        outputs, tape = solve(problem)
        grads = pull_back(problem, tape, random_like(outputs))
        assert all(v.size == 0 for v in outputs.values())
        agree(grads, {name: np.zeros_like(v) for name, v in problem.inputs.items()})


@given(one_layer, sizes, sizes, seeds)
def test_a_pack_of_equal_lengths_is_the_dense_batch(net, T, B, seed):
    packed = draw(net, lengths=[T] * B, seed=seed)
    x = packed.inputs["x"].reshape(T, B, -1)
    dense = draw(net, T, B, seed=seed).with_inputs(**packed.inputs)
    dense.inputs["x"] = x.swapaxes(0, 1) if net.batch_first else x
    found, expected = solve(packed)[0], solve(dense)[0]
    rows = expected["output"].swapaxes(0, 1) if net.batch_first else expected["output"]
    assert np.array_equal(found["output"], rows.reshape(T * B, -1))
    assert np.array_equal(found["h_n"], expected["h_n"])
