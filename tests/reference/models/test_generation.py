"""Generation with explicit draws, teacher forcing, scheduled sampling, exposure bias."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import RNN
from reference.models.generation import (
    generate_greedy,
    generate_sampled,
    most_likely,
    sample,
    scheduled_inputs,
    scheduled_step,
)
from reference.models.language_model import TinyRNNLM, lm_step
from support.calculus import agree, rejects
from support.models import nets, params_of, state_in, states_of
from support.strategies import seeds, sizes
from torch_impl.models import generation as torch_generation
from torch_impl.models.language_model import TinyRNNLM as TorchLM


@st.composite
def models(draw, padded=False):
    """A model, its parameters, and the generator that drew them."""
    V, rng = draw(st.integers(2, 7)), np.random.default_rng(draw(seeds))
    lm = TinyRNNLM(V, draw(nets()), draw(st.none() | st.integers(0, V - 1)) if padded else None)
    return lm, params_of(lm, rng), rng


@pytest.mark.claim("B7")
@given(models(), sizes, sizes, sizes, st.booleans())
def test_greedy_and_sampled_generation_are_torchs_with_the_same_draws(case, B, T, steps, given):
    lm, params, rng = case
    prompt, draws = rng.integers(0, lm.vocab_size, (B, T)), rng.random((B, steps))
    model, named = TorchLM(lm, params), states_of(lm.rnn, B, rng) if given else {}
    state = state_in(lm.rnn, named)
    torch_state = state_in(lm.rnn, {n: torch.tensor(v) for n, v in named.items()})
    torch_prompt, torch_draws = torch.tensor(prompt), torch.tensor(draws)
    np.testing.assert_array_equal(
        generate_greedy(lm, params, prompt, steps, state),
        torch_generation.generate_greedy(model, torch_prompt, steps, torch_state).numpy(),
    )
    np.testing.assert_array_equal(
        generate_sampled(lm, params, prompt, draws, state),
        torch_generation.generate_sampled(model, torch_prompt, torch_draws, torch_state).numpy(),
    )


@pytest.mark.claim("B7")
@given(models(), sizes, sizes)
def test_every_generated_token_is_the_models_choice_after_all_tokens_before_it(case, T, steps):
    lm, params, rng = case
    prompt, draws = rng.integers(0, lm.vocab_size, (3, T)), rng.random((3, steps))
    for tokens, choose in (
        (generate_greedy(lm, params, prompt, steps), lambda o, t: most_likely(o)),
        (generate_sampled(lm, params, prompt, draws), lambda o, t: sample(o, draws[:, t])),
    ):
        text = np.concatenate([prompt, tokens], axis=1)
        logits, _, _ = lm.forward(params, text[:, :-1])
        for t in range(steps):
            np.testing.assert_array_equal(tokens[:, t], choose(logits[:, T - 1 + t], t))


@pytest.mark.claim("B7")
@given(st.integers(2, 6), seeds)
def test_evenly_spaced_draws_meet_each_token_as_often_as_its_probability_says(V, seed):
    logits = np.random.default_rng(seed).standard_normal((1, V))
    n = 4000
    tokens = sample(np.repeat(logits, n, axis=0), (np.arange(n) + 0.5) / n)
    p = np.exp(logits[0]) / np.exp(logits[0]).sum()
    assert np.abs(np.bincount(tokens, minlength=V) / n - p).max() <= 1 / n
    assert (np.diff(tokens) >= 0).all()


@pytest.mark.claim("B7")
def test_a_token_of_probability_zero_is_never_drawn_not_even_by_the_extreme_draws():
    edge = -np.inf
    logits = np.array([[edge, 0.1, edge, 0.4, edge], [0.3, edge, edge, edge, edge]])
    for u in (0.0, np.nextafter(1, 0)):
        tokens = sample(logits, np.array([u, u]))
        assert np.isfinite(logits[[0, 1], tokens]).all()
        found = torch_generation.sample(torch.tensor(logits), torch.tensor([u, u]))
        np.testing.assert_array_equal(tokens, found.numpy())


@pytest.mark.claim("B7")
@given(models(padded=True), sizes, st.integers(2, 7), st.sampled_from([0.0, 0.5, 1.0]))
def test_scheduled_sampling_is_torchs_run_step_by_step_in_value_and_gradient(case, B, T, ratio):
    lm, params, rng = case
    ids = rng.integers(0, lm.vocab_size, (B, T))
    ids[0, 1] = 1 if lm.padding_idx == 0 else 0  # at least one target
    truth, draws = rng.random((B, T - 1)) < ratio, rng.random((B, T - 1))
    found, grads = scheduled_step(lm, params, ids, truth, draws)
    model = TorchLM(lm, params)
    expected = torch_generation.scheduled_step(model, *map(torch.tensor, (ids, truth, draws)))
    expected.backward()
    assert abs(found - expected.item()) <= 1e-12 * expected.item()
    agree(grads, {n: p.grad.numpy() for n, p in model.named_parameters()}, 1e-11)


@pytest.mark.claim("B7")
@given(models(padded=True), sizes, st.integers(2, 7))
def test_scheduled_sampling_with_ratio_one_is_teacher_forcing_to_the_bit(case, B, T):
    lm, params, rng = case
    ids = rng.integers(0, lm.vocab_size, (B, T))
    ids[0, 1] = 1 if lm.padding_idx == 0 else 0
    everywhere, draws = np.ones((B, T - 1), dtype=bool), rng.random((B, T - 1))
    value, grads = scheduled_step(lm, params, ids, everywhere, draws)
    expected, expected_grads = lm_step(lm, params, ids)
    assert value == expected
    for name, g in expected_grads.items():
        np.testing.assert_array_equal(grads[name], g)


@pytest.mark.claim("B7")
@given(models(), sizes, st.integers(2, 7))
def test_scheduled_sampling_with_ratio_zero_is_the_models_own_text(case, B, T):
    lm, params, rng = case
    text, draws = rng.integers(0, lm.vocab_size, (B, T)), rng.random((B, T))
    inputs = scheduled_inputs(lm, params, text, np.zeros((B, T), dtype=bool), draws)
    np.testing.assert_array_equal(inputs[:, 0], text[:, 0])
    np.testing.assert_array_equal(
        inputs[:, 1:], generate_sampled(lm, params, text[:, :1], draws[:, 1:])
    )


@pytest.mark.claim("B7")
def test_teacher_forcing_shows_one_wrong_step_where_generation_loses_the_whole_text():
    """A model that counts 0, 1, 2 … and is wrong only after 4. With the true inputs it errs once
    in ten steps; after its own mistake it never returns to the right count.
    """
    V = 10
    lm = TinyRNNLM(V, RNN(V, V, bias=False, batch_first=True))
    successor = np.roll(np.eye(V), 1, axis=0)  # column j has its one in row j + 1
    successor[:, 4] = np.eye(V)[7]
    params = {
        "emb.weight": np.eye(V),
        "rnn.weight_ih_l0": 3 * np.eye(V),
        "rnn.weight_hh_l0": np.zeros((V, V)),
        "head.weight": successor,
        "head.bias": np.zeros(V),
    }
    text = np.arange(31)[None] % V
    forced = lm.forward(params, text[:, :-1])[0].argmax(axis=-1)
    generated = generate_greedy(lm, params, text[:, :1], 30)
    assert (forced != text[:, 1:]).mean() == 0.1
    assert (generated != text[:, 1:]).mean() > 0.7


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint64])
def test_a_token_that_the_prompts_type_cannot_hold_is_written_all_the_same(dtype):
    """Token 290 of 300 would be 34 in uint8."""
    lm = TinyRNNLM(300, RNN(2, 4, batch_first=True))
    params = lm.init(np.random.default_rng(0))
    params["head.bias"][290] = 1e3
    prompt, draws = np.array([[1, 2, 3]], dtype), np.full((1, 3), 0.5)
    assert (generate_greedy(lm, params, prompt, 3) == 290).all()
    assert (generate_sampled(lm, params, prompt, draws) == 290).all()
    mixed = scheduled_inputs(lm, params, prompt, np.zeros((1, 3), bool), draws)
    assert mixed.tolist() == [[1, 290, 290]]


def test_bad_input_is_rejected_with_one_sentence():
    lm = TinyRNNLM(3, RNN(2, 4, batch_first=True))
    params, text = lm.init(np.random.default_rng(0)), np.array([[0, 1, 2]])
    truth, draws = np.ones((1, 3), dtype=bool), np.full((1, 2), 0.5)
    rejects(ValueError, "[1, 2]", scheduled_inputs, lm, params, text, truth, draws)
    for bad, message in (
        (np.ones((3, 2)), "[1, steps], one row for each"),
        (np.ones(2), "got [2]"),
    ):
        rejects(ValueError, message, generate_sampled, lm, params, text, bad)
    rejects(RuntimeError, "float64", scheduled_inputs, lm, params, 1.0 * text, truth, 0.5 * truth)
    rejects(IndexError, "rows 0 to 2", generate_greedy, lm, params, np.array([[0, 3]]), 2)


@pytest.mark.parametrize("draw", [1.0, -0.1, 2.0, np.nan, np.inf])
def test_draws_outside_zero_to_one_are_rejected_with_one_sentence(draw):
    """A draw of 1 would select token V, which does not exist."""
    logits, u = np.zeros((2, 3)), np.array([0.5, draw])
    rejects(ValueError, "draws in [0, 1), got values from", sample, logits, u)
    lm = TinyRNNLM(3, RNN(2, 4, batch_first=True))
    params, text = lm.init(np.random.default_rng(0)), np.array([[0, 1, 2], [1, 1, 1]])
    draws = np.stack([u, u, u], axis=1)
    rejects(ValueError, "draws in [0, 1)", generate_sampled, lm, params, text, draws)
    truth = np.zeros((2, 3), bool)
    rejects(ValueError, "draws in [0, 1)", scheduled_inputs, lm, params, text, truth, draws)
    truth[1] = True  # a draw that is not used may have any value
    inputs = scheduled_inputs(lm, params, text, truth, draws)
    np.testing.assert_array_equal(inputs[1], text[1])
    assert sample(logits[:1], np.array([0])).tolist() == [0]


@pytest.mark.parametrize("bad", [[0.0, np.nan, 1.0], [np.inf, 0.0, 0.0], [-np.inf] * 3])
def test_logits_without_a_distribution_are_rejected_as_torchs_multinomial_does(bad):
    logits = np.array([[0.1, 0.2, -np.inf], bad])
    rejects(RuntimeError, "in row 1", sample, logits, np.array([0.5, 0.5]))
    with pytest.raises(RuntimeError, match="probability tensor contains"):
        torch.multinomial(torch.tensor(logits).softmax(-1), 1)


def test_sampling_rejects_lists():
    logits, u = np.zeros((2, 3)), np.array([0.5, 0.5])
    rejects(TypeError, "draws should be an array, got list", sample, logits, u.tolist())
    rejects(TypeError, "logits should be an array, got list", sample, logits.tolist(), u)
