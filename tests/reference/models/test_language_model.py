"""TinyRNNLM: gradients, probabilities, the label shift, padding, and 200 steps next to torch."""

from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import GRU, LSTM, RNN
from reference.models import loss
from reference.models.generation import generate_greedy
from reference.models.language_model import TinyRNNLM, lm_step, log_probability, loss_and_grads
from support.calculus import (
    adjoint_identity_holds,
    agree,
    agrees_with_torch,
    agrees_with_torch_in_float32,
    rejects,
)
from support.models import (
    named_state,
    nets,
    one_ulp_away,
    params_of,
    state_in,
    states_of,
    train,
    train_in_torch,
)
from support.strategies import seeds, sizes
from torch_impl.models import language_model as torch_lm

TEXT = "深度学习很有趣"


@st.composite
def cases(draw, padded=True):
    """A model, ids [B, T], and inputs: every parameter and, in some cases, an initial state."""
    V, B, T = draw(st.integers(2, 7)), draw(sizes), draw(st.integers(2, 7))
    lm = TinyRNNLM(V, draw(nets()), draw(st.none() | st.integers(0, V - 1)) if padded else None)
    rng = np.random.default_rng(draw(seeds))
    ids = rng.integers(0, V, (B, T))
    ids[0, 1] = 1 if lm.padding_idx == 0 else 0  # at least one target
    inputs = params_of(lm, rng)
    return lm, ids, inputs | (states_of(lm.rnn, B, rng) if draw(st.booleans()) else {})


def parameters(inputs):
    """The inputs that are parameters."""
    return {name: v for name, v in inputs.items() if "." in name}


def logits_of(lm, ids):
    """Logits and last state as a function of parameters and initial state, here and in torch."""

    def run(inputs):
        logits, state, tape = lm.forward(parameters(inputs), ids, state_in(lm.rnn, inputs))

        def pull(d):
            grads = lm.backward(tape, d["logits"], state_in(lm.rnn, d, "n"))
            named = named_state(lm.rnn, grads.state, "0") | grads.params
            return {name: named[name] for name in inputs}

        return {"logits": logits} | named_state(lm.rnn, state, "n"), pull

    def graph(leaves):
        own = parameters(leaves)
        model = torch_lm.TinyRNNLM(lm, {n: v.detach().numpy() for n, v in own.items()})
        args = torch.tensor(ids), state_in(lm.rnn, leaves)
        logits, state = torch.func.functional_call(model, own, args)
        return {"logits": logits} | named_state(lm.rnn, state, "n")

    return run, graph


@pytest.mark.claim("B8", "A6")
@given(cases(padded=False), seeds)
def test_the_backward_is_the_adjoint_of_the_tangent(case, seed):
    lm, ids, inputs = case
    adjoint_identity_holds(logits_of(lm, ids)[0], inputs, seed)


@pytest.mark.claim("B8", "A6")
@given(cases(), seeds)
def test_logits_state_and_every_gradient_are_torchs(case, seed):
    lm, ids, inputs = case
    agrees_with_torch(*logits_of(lm, ids), inputs, seed)


@pytest.mark.claim("B8")
@given(cases(), seeds)
def test_in_float32_torch_errs_no_more_than_a_careful_evaluation_does(case, seed):
    lm, ids, inputs = case
    agrees_with_torch_in_float32(*logits_of(lm, ids), inputs, seed)


@pytest.mark.claim("B8", "P8")
@given(cases())
def test_the_loss_of_a_step_and_its_gradients_are_torchs(case):
    lm, ids, inputs = case
    model = torch_lm.TinyRNNLM(lm, parameters(inputs))
    state = state_in(lm.rnn, {n: torch.tensor(v) for n, v in inputs.items()})
    expected = torch_lm.lm_step(model, torch.tensor(ids), state)
    expected.backward()
    found, grads = lm_step(lm, parameters(inputs), ids, state_in(lm.rnn, inputs))
    assert abs(found - expected.item()) <= 1e-13 * expected.item()
    agree(grads, {n: p.grad.numpy() for n, p in model.named_parameters()}, 1e-12)


@pytest.mark.claim("B1")
@given(nets(), st.integers(2, 4), st.integers(0, 4), seeds)
def test_the_probabilities_of_all_sequences_of_a_length_sum_to_one(net, V, T, seed):
    rng = np.random.default_rng(seed)
    lm = TinyRNNLM(V, net)
    ids = np.array([(1, *rest) for rest in product(range(V), repeat=T + 1)])
    p = np.exp(log_probability(lm, params_of(lm, rng), ids))
    assert abs(p.sum() - 1) < 1e-12
    assert p.min() > 0


@pytest.mark.claim("B1")
@given(cases())
def test_the_log_probability_of_a_sequence_is_the_sum_of_its_steps(case):
    lm, ids, inputs = case
    params, state, total = parameters(inputs), None, 0
    for t in range(ids.shape[1] - 1):
        logits, state, _ = lm.forward(params, ids[:, t : t + 1], state)
        p = np.exp(logits[:, 0]) / np.exp(logits[:, 0]).sum(axis=1, keepdims=True)
        total = total + np.log(p[np.arange(len(ids)), ids[:, t + 1]])
    found = log_probability(lm, params, ids)
    np.testing.assert_allclose(found, total, rtol=1e-12)
    model = torch_lm.TinyRNNLM(lm, params)
    expected = torch_lm.log_probability(model, torch.tensor(ids)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.claim("P8", "B8")
@given(nets(), st.lists(st.integers(2, 6), min_size=2, max_size=4), seeds)
def test_right_padding_adds_nothing_to_loss_or_gradient(net, lengths, seed):
    rng = np.random.default_rng(seed)
    lm = TinyRNNLM(5, net, padding_idx=3)
    params, T = params_of(lm, rng), max(lengths)
    rows = [rng.choice([0, 1, 2, 4], n) for n in lengths]
    padded = np.array([np.pad(row, (0, T - len(row)), constant_values=3) for row in rows])
    value, grads = lm_step(lm, params, padded)
    unpadded = [lm_step(lm, params, row[None]) for row in rows]
    share = [(n - 1) / (sum(lengths) - len(lengths)) for n in lengths]
    expected = sum(w * v for w, (v, _) in zip(share, unpadded, strict=True))
    assert abs(value - expected) < 1e-13 * expected
    agree(
        grads,
        {n: sum(w * g[n] for w, (_, g) in zip(share, unpadded, strict=True)) for n in grads},
        1e-11,
    )


def sentence():
    """The letters of TEXT, TEXT as ids [1, T], and a model over these letters."""
    letters = sorted(set(TEXT))
    ids = np.array([[letters.index(c) for c in TEXT]])
    return letters, ids, TinyRNNLM(len(letters), GRU(8, 16, batch_first=True))


@pytest.mark.claim("B1")
def test_the_sentence_is_learned_to_the_letter_here_and_in_torch_alike():
    letters, ids, lm = sentence()
    start = lm.init(np.random.default_rng(0))
    losses, params = train(start, lambda p, x: lm_step(lm, p, x), [(ids,)] * 200)
    model = torch_lm.TinyRNNLM(lm, start)
    torch_losses = train_in_torch(model, torch_lm.lm_step, [(ids,)] * 200)
    np.testing.assert_allclose(losses, torch_losses, rtol=1e-9)
    assert losses[0] > 0.8 * np.log(len(letters)) and losses[-1] < 0.02
    assert log_probability(lm, params, ids) > -0.1
    read = "".join(letters[i] for i in generate_greedy(lm, params, ids[:, :1], len(TEXT) - 1)[0])
    assert TEXT[0] + read == TEXT


@cache
def trajectories(kind, steps=200, lr=1e-2):
    """The loss at each step: in NumPy, in torch, and in NumPy from a start one ulp away."""
    lm, start, batches = course(kind, steps)
    step = lambda p, x: lm_step(lm, p, x)  # noqa: E731
    moved = one_ulp_away(start, np.random.default_rng(7))
    in_torch = train_in_torch(torch_lm.TinyRNNLM(lm, start), torch_lm.lm_step, batches, lr)
    return train(start, step, batches, lr)[0], in_torch, train(moved, step, batches, lr)[0]


@pytest.mark.claim("B8")
@pytest.mark.parametrize("kind", [RNN, GRU, LSTM])
def test_two_hundred_steps_of_adam_stay_with_torch_to_one_part_in_a_billion(kind):
    here, in_torch, _ = trajectories(kind)
    np.testing.assert_allclose(here, in_torch, rtol=1e-9)
    assert here[-20:].mean() < 0.7 * here[0]  # it learned: the losses are not noise


@pytest.mark.claim("B8")
@pytest.mark.parametrize("kind", [RNN, GRU, LSTM])
def test_what_parts_the_trajectories_is_what_parts_two_starts_one_ulp_apart(kind):
    here, in_torch, moved = trajectories(kind)
    gap, ulps = (np.abs(losses / here - 1).max() for losses in (in_torch, moved))
    assert gap <= 30 * max(ulps, 1e-16)


@pytest.mark.claim("B8")
def test_a_short_run_is_the_beginning_of_a_long_one():
    for short, long in zip(trajectories(RNN, 3), trajectories(RNN, 5), strict=True):
        np.testing.assert_array_equal(short, long[:3])


def relative_differences(kind, steps, lr):
    """The largest relative difference of the loss up to each step: to torch's loss, and to that
    from a start one ulp away."""
    here, in_torch, moved = trajectories(kind, steps, lr)
    return [np.maximum.accumulate(np.abs(x / here - 1)) for x in (in_torch, moved)]


@pytest.mark.claim("B8")
def test_at_ten_times_the_rate_training_is_chaotic_and_torch_parts_no_sooner_than_one_ulp():
    gap, ulps = relative_differences(RNN, 500, 0.1)
    assert ulps[-1] > 1e-6 and gap[-1] > 1e-6  # rounding decides both trajectories
    for step in (100, 200, 300):
        assert gap[step - 1] < 100 * ulps[step - 1]


def course(kind, steps=200):
    """A model with padding, initial parameters, and batches of a noisy counting language."""
    lm = TinyRNNLM(11, kind(6, 12, batch_first=True), padding_idx=10)
    rng = np.random.default_rng(3)
    start, batches = lm.init(rng), []  # drawn first: the start does not depend on steps
    for _ in range(steps):
        ids = (rng.integers(0, 10, (4, 1)) + rng.integers(1, 3, (4, 1)) * np.arange(9)) % 10
        ids[1, 6:] = ids[2, 4:] = 10
        batches.append((ids,))
    return lm, start, batches


@pytest.mark.claim("B3")
def test_a_model_trained_without_the_shift_sees_its_own_target_and_is_found_out():
    """Random letters cannot be predicted: a loss below log V means the target is an input."""
    V, rng = 6, np.random.default_rng(0)
    lm = TinyRNNLM(V, GRU(5, 12, batch_first=True))
    batches = [(rng.integers(0, V, (8, 11)),) for _ in range(120)]
    unseen = rng.integers(0, V, (50, 11))

    def final_loss(pair):
        step = lambda p, ids: loss_and_grads(lm, p, *pair(ids))  # noqa: E731
        _, params = train(lm.init(np.random.default_rng(1)), step, batches)
        return step(params, unseen)[0]

    assert final_loss(lambda ids: (ids[:, :-1], ids[:, :-1])) < 0.1 * np.log(V)  # a copy
    assert final_loss(loss.shift) > 0.98 * np.log(V)


@pytest.mark.claim("B3")
def test_targets_two_ahead_still_lower_the_loss_but_generate_another_text():
    letters, ids, lm = sentence()
    step = lambda p, x: loss_and_grads(lm, p, x[:, :-2], x[:, 2:])  # noqa: E731
    losses, params = train(lm.init(np.random.default_rng(0)), step, [(ids,)] * 200)
    assert losses[-1] < 0.05
    read = generate_greedy(lm, params, ids[:, :1], 6)[0]
    assert letters[read[0]] == TEXT[2]


@pytest.mark.parametrize("kind", [RNN, GRU, LSTM])
def test_initial_parameters_have_torchs_names_shapes_and_ranges(kind):
    lm = TinyRNNLM(40, kind(30, 25, num_layers=2, batch_first=True), padding_idx=4)
    params = lm.init(np.random.default_rng(0))
    model = torch_lm.TinyRNNLM(lm, params)
    assert {n: tuple(p.shape) for n, p in model.named_parameters()} == lm.parameter_shapes()
    assert list(params) == [n for n, _ in model.named_parameters()]
    assert not params["emb.weight"][4].any()
    assert all(0.15 < np.abs(p).max() <= 0.2 for n, p in params.items() if n != "emb.weight")


def test_bad_input_is_rejected_with_one_sentence():
    lm = TinyRNNLM(5, GRU(3, 4, batch_first=True), padding_idx=0)
    params = lm.init(np.random.default_rng(0))
    step = lambda ids: lm_step(lm, params, np.array(ids))  # noqa: E731
    rejects(IndexError, "rows 0 to 4", step, [[1, 5, 2]])
    rejects(IndexError, "Target 5 is out of bounds", step, [[1, 2, 5]])
    rejects(ValueError, "not padding", step, [[1, 0, 0]])
    rejects(ValueError, "not padding", step, np.zeros((0, 4), dtype=int))
    rejects(ValueError, "T ≥ 2", step, [[1]])
    rejects(ValueError, "T ≥ 2", step, [1, 2, 3])
    for bad in (GRU(3, 4), GRU(3, 4, 2, batch_first=True, dropout=0.5)):
        rejects(ValueError, "batch_first=True", TinyRNNLM, 5, bad)
    bidirectional = GRU(3, 4, batch_first=True, bidirectional=True)
    rejects(ValueError, "bidirectional", TinyRNNLM, 5, bidirectional)
    for bad in (5, -1):
        rejects(ValueError, "padding_idx", TinyRNNLM, 5, lm.rnn, bad)


def main():
    """Print the table of docs/models/language_model.md."""
    steps = (100, 200, 300, 500, 1000, 2000)
    print("| net | rate |", *[f"{step} |" for step in steps])
    print("|---|---|" + "---|" * len(steps))
    for lr in (0.01, 0.1):
        for kind in (RNN, GRU, LSTM):
            differences = np.transpose(relative_differences(kind, steps[-1], lr))
            cells = ["{:.0e}, {:.0e} |".format(*differences[step - 1]) for step in steps]
            print(f"| {kind.__name__} | {lr} |", *cells)


if __name__ == "__main__":
    main()
