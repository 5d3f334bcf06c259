"""Nets over batches of variable length: padding corrupts them, packing makes of each sequence
what it is alone, and the last real step of a padded run is the last state of the packed one.
"""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from reference import GRU, LSTM, RNN
from reference.cells.table import CELL_TABLE
from reference.sequences import packing
from reference.sequences.padding import last_valid, last_valid_back
from support.problems import STATE_OR_X, draw, pull_back, solve
from support.strategies import all_lengths, nets, seeds
from support.verdicts import agree, random_like

KINDS = {
    "tanh": RNN(3, 4, 2, bidirectional=True),
    "relu": RNN(3, 4, nonlinearity="relu"),
    "gru": GRU(3, 4, 2),
    "lstm": LSTM(3, 4, 2, bidirectional=True, proj_size=2),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def unequal(net):
    """Sequences of which the last ends before the first, in the net's dense layout, padded by 0."""
    return st.builds(
        lambda T, n, seed: (draw(net, T, 2, seed=seed), [T, min(n, T - 1)]),
        st.integers(2, 6),
        st.integers(1, 6),
        seeds,
    )


def padded_by_zeros(problem, lengths):
    """The problem with x set to 0 after each sequence's end."""
    x = problem.inputs["x"].copy()
    for b, n in enumerate(lengths):
        x[n:, b] = 0
    return problem.with_inputs(x=x)


one_way = st.sampled_from([RNN(3, 4), RNN(3, 4, bias=False), GRU(3, 4), LSTM(3, 4, proj_size=2)])


@pytest.mark.claim("P1")
@pytest.mark.parametrize("net", [RNN(1, 1, bias=False), GRU(1, 1, bias=False), LSTM(1, 1)])
def test_hypothesis_finds_zero_padding_that_corrupts_h_n(net):
    def corrupts(example):
        problem, lengths = example
        outputs, _ = solve(padded_by_zeros(problem, lengths))
        right = last_valid(outputs["output"], lengths)
        return np.abs(outputs["h_n"][-1] - right).max() > 0.1

    once = settings(database=None)
    _, lengths = find(unequal(net), corrupts, settings=once, random=Random(0))
    assert lengths == [2, 1]


@pytest.mark.claim("P1")
def test_even_without_bias_zero_padding_moves_h_by_tanh_of_w_h():
    net, one = RNN(1, 1, bias=False), np.ones((1, 1))
    x = np.array([[0.5], [0.0]])
    _, h_n, _ = net.forward({"weight_ih_l0": one, "weight_hh_l0": one}, x)
    assert h_n.item() == np.tanh(np.tanh(0.5)) != np.tanh(0.5)


@pytest.mark.claim("P1")
@given(one_way.flatmap(unequal))
def test_over_padding_the_net_runs_on_from_its_last_real_state(example):
    problem, lengths = example
    outputs, _ = solve(padded_by_zeros(problem, lengths))
    n = lengths[1]
    states = [name for name in ("h_0", "c_0") if name in problem.inputs]
    short = {name: problem.inputs[name][:, 1] for name in states}
    single, _ = solve(problem.with_inputs(x=problem.inputs["x"][:n, 1], **short))
    after = {name: single[name.replace("0", "n")] for name in states}
    zeros = np.zeros((lengths[0] - n, problem.net.input_size))
    ran_on, _ = solve(problem.with_inputs(x=zeros, **after))
    for name in ("h_n", "c_n")[: len(states)]:
        np.testing.assert_allclose(outputs[name][:, 1], ran_on[name], rtol=1e-12, atol=1e-14)
    assert np.abs(outputs["h_n"][:, 1] - single["h_n"]).max() > 0


@pytest.mark.claim("P3", "P6")
@given(nets(), all_lengths, seeds)
def test_each_packed_sequence_has_the_values_and_gradients_that_it_has_alone(net, lengths, seed):
    problem = draw(net, lengths=lengths, seed=seed)
    outputs, tape = solve(problem)
    cotangents = random_like(outputs)
    grads = pull_back(problem, tape, cotangents)
    listed = {
        name: packing.unpack_sequence(problem.wrap(value))
        for name, value in [
            ("x", problem.inputs["x"]),
            ("output", outputs["output"]),
            ("d_x", grads["x"]),
            ("d_output", cotangents["output"]),
        ]
    }
    params = {k: np.zeros_like(v) for k, v in grads.items() if k not in STATE_OR_X}
    for b in range(len(lengths)):

        def row(arrays, b=b):
            return {k: v[:, b] for k, v in arrays.items() if k[:2] in ("h_", "c_")}

        mine = problem.inputs | {"x": listed["x"][b]} | row(problem.inputs)
        single = replace(problem, inputs=mine, packing=None)
        values, tape = solve(single)
        agree(values, {"output": listed["output"][b]} | row(outputs))
        found = pull_back(single, tape, {"output": listed["d_output"][b]} | row(cotangents))
        expected = {"x": listed["d_x"][b]} | row(grads)
        agree({name: found[name] for name in expected}, expected)
        params = {name: total + found[name] for name, total in params.items()}
    agree(params, {name: grads[name] for name in params})


@pytest.mark.claim("P3")
@every_kind
def test_an_unsorted_batch_with_its_states_is_the_sorted_batch_put_back_in_order(kind):
    lengths = [2, 5, 1, 4]
    problem = draw(KINDS[kind], lengths=lengths)
    order = problem.packing.sorted_indices
    by_hand = {k: v[:, order] for k, v in problem.inputs.items() if k in ("h_0", "c_0")}
    packed = problem.packing._replace(sorted_indices=None, unsorted_indices=None)
    ordered = replace(problem, packing=packed).with_inputs(**by_hand)
    outputs, _ = solve(problem)
    expected, _ = solve(ordered)
    np.testing.assert_array_equal(outputs.pop("output"), expected.pop("output"))
    agree({name: v[:, order] for name, v in outputs.items()}, expected, tolerance=0)


@pytest.mark.claim("P6")
@every_kind
def test_nan_in_the_padding_reaches_no_value_and_no_gradient(kind):
    net, lengths = KINDS[kind], [3, 5, 1]
    rng = np.random.default_rng(0)
    params, x = net.init(rng), rng.standard_normal((5, 3, 3))
    results = []
    for padding in (np.nan, np.inf, 0.25):
        filled = x.copy()
        for b, n in enumerate(lengths):
            filled[n:, b] = padding
        packed = packing.pack_padded_sequence(filled, lengths, enforce_sorted=False)
        output, state, tape = net.forward(params, packed)
        grads = net.backward(tape, output, state)
        d_x = packing.pack_padded_sequence_back(grads.x)
        state = state if isinstance(state, tuple) else (state,)
        results.append([output.data, *state, d_x, *grads.params.values()])
    for found in results[:2]:
        for a, b in zip(found, results[2], strict=True):
            assert np.isfinite(a).all()
            np.testing.assert_array_equal(a, b)


@pytest.mark.claim("P6")
@pytest.mark.parametrize("direction", ["step", "step_back"])
def test_the_work_is_that_of_the_real_steps(direction, monkeypatch):
    rows = []
    cell = CELL_TABLE["GRU"]
    original = getattr(cell, direction)

    def counted(params, *arguments):
        rows.append(len(arguments[3].h))
        return original(params, *arguments)

    monkeypatch.setitem(CELL_TABLE, "GRU", cell._replace(**{direction: counted}))
    lengths = [7, 2, 9, 1]
    problem = draw(GRU(3, 4, 2, bidirectional=True), lengths=lengths)
    outputs, tape = solve(problem)
    pull_back(problem, tape, outputs)
    assert sum(rows) == 2 * 2 * sum(lengths)
    assert max(rows) == len(lengths)


def last_run(net, lengths, seed):
    """A padded batch, its dense run and its packed run, from one state."""
    packed_problem = draw(net, lengths=lengths, seed=seed)
    packed = packed_problem.wrap(packed_problem.inputs["x"])
    x, _ = packing.pad_packed_sequence(packed, padding_value=0.75)
    return replace(packed_problem, packing=None).with_inputs(x=x), packed_problem


@pytest.mark.claim("P7")
@given(nets(directions=[False]).filter(lambda net: not net.batch_first), all_lengths, seeds)
def test_the_last_valid_output_of_a_padded_run_is_h_n_of_the_packed_run(net, lengths, seed):
    dense, packed = last_run(net, lengths, seed)
    outputs, tape = solve(dense)
    expected, packed_tape = solve(packed)
    last = last_valid(outputs["output"], lengths)
    agree({"last": last}, {"last": expected["h_n"][-1]})
    d_last = random_like({"last": last})["last"]
    d_output = last_valid_back(d_last, lengths, max(lengths))
    found = pull_back(dense, tape, {"output": d_output})
    d_h_n = np.zeros_like(expected["h_n"])
    d_h_n[-1] = d_last
    grads = pull_back(packed, packed_tape, {"h_n": d_h_n})
    grads["x"] = packing.pack_padded_sequence_back(packed.wrap(grads["x"]))
    agree(found, grads)


@pytest.mark.claim("P7")
def test_the_last_column_is_not_the_last_valid_output():
    dense, packed = last_run(RNN(3, 4), [2, 5], seed=0)
    outputs, _ = solve(dense)
    expected, _ = solve(packed)
    wrong = np.abs(outputs["output"][-1] - expected["h_n"][-1]).max(axis=1)
    assert wrong[0] > 0.1  # the short sequence's last column lies in the padding
    assert wrong[1] < 1e-15


@pytest.mark.claim("P7")
@given(nets(directions=[True]), all_lengths, seeds)
def test_the_reverse_half_has_its_last_state_at_step_0(net, lengths, seed):
    problem = draw(net, lengths=lengths, seed=seed)
    outputs, _ = solve(problem)
    padded, _ = packing.pad_packed_sequence(problem.wrap(outputs["output"]))
    half = padded.shape[2] // 2
    np.testing.assert_array_equal(last_valid(padded, lengths)[:, :half], outputs["h_n"][-2])
    np.testing.assert_array_equal(padded[0, :, half:], outputs["h_n"][-1])
