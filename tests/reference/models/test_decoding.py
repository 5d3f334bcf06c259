"""Teacher forcing and greedy decoding: the shift, torch's tokens, and 200 training steps."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference.models import optim
from reference.models.decoding import decode_greedy, seq2seq_step, teacher_forcing
from reference.models.seq2seq import Seq2Seq
from support.calculus import agree, rejects
from support.strategies import seeds, sizes
from torch_impl.models import decoding as torch_decoding
from torch_impl.models import optim as torch_optim
from torch_impl.models.seq2seq import Seq2Seq as TorchSeq2Seq

BOS, EOS = 3, 1
options = {
    "cell": st.sampled_from(["RNN", "GRU", "LSTM"]),
    "attention_size": st.sampled_from([0, 4]),
}


def draw(rng, B, T, U):
    """A batch of sources and targets with their lengths."""
    lengths, target_lengths = rng.integers(1, T + 1, B), rng.integers(0, U + 1, B)
    return rng.integers(0, 7, (B, T)), lengths, rng.integers(4, 9, (B, U)), target_lengths


def model_of(cell="GRU", attention_size=4, hidden_size=5):
    """A small model; the targets drawn for it are 4 … 8."""
    return Seq2Seq(7, 9, 3, hidden_size, BOS, EOS, cell, attention_size)


@pytest.mark.claim("Q3")
def test_inputs_begin_with_bos_and_labels_end_with_eos():
    targets = np.array([[5, 6, 7], [8, 0, 0], [0, 0, 0]])
    inputs, labels, mask = teacher_forcing(targets, [3, 1, 0], BOS, EOS)
    np.testing.assert_array_equal(
        inputs, [[BOS, 5, 6, 7], [BOS, 8, EOS, EOS], [BOS, EOS, EOS, EOS]]
    )
    np.testing.assert_array_equal(labels[mask], [5, 6, 7, EOS, 8, EOS, EOS])
    np.testing.assert_array_equal(mask.sum(axis=1), [4, 2, 1])


@pytest.mark.claim("Q3")
@given(sizes, sizes, seeds)
def test_every_label_is_the_next_input_and_every_row_ends_in_eos(B, U, seed):
    *_, targets, lengths = draw(np.random.default_rng(seed), B, 2, U)
    inputs, labels, mask = teacher_forcing(targets, lengths, BOS, EOS)
    np.testing.assert_array_equal(labels[:, :-1][mask[:, 1:]], inputs[:, 1:][mask[:, 1:]])
    for b, n in enumerate(lengths):
        np.testing.assert_array_equal(labels[b, : n + 1], [*targets[b, :n], EOS])
        assert inputs[b, 0] == BOS and mask[b].sum() == n + 1


@pytest.mark.claim("Q3")
@given(**options, seed=seeds)
def test_loss_and_gradients_of_a_step_are_torchs(cell, attention_size, seed):
    rng = np.random.default_rng(seed)
    model, batch = model_of(cell, attention_size), draw(rng, 4, 5, 6)
    params = model.init(rng)
    loss, grads = seq2seq_step(model, params, *batch)
    module = TorchSeq2Seq(model, params)
    expected = torch_decoding.seq2seq_step(module, *map(torch.tensor, batch))
    expected.backward()
    agree({"loss": loss}, {"loss": expected.detach().numpy()})
    agree(grads, {n: p.grad.numpy() for n, p in module.named_parameters()}, 1e-11)


@pytest.mark.claim("Q3")
@given(**options, seed=seeds)
def test_what_lies_beyond_a_targets_length_changes_nothing(cell, attention_size, seed):
    rng = np.random.default_rng(seed)
    model, (source, lengths, targets, n) = model_of(cell, attention_size), draw(rng, 4, 5, 6)
    params = model.init(rng)
    junk = np.where(np.arange(6) < n[:, None], targets, 10**6)
    loss, grads = seq2seq_step(model, params, source, lengths, targets, n)
    again, grads_again = seq2seq_step(model, params, source, lengths, junk, n)
    assert again == loss
    for name in grads:
        np.testing.assert_array_equal(grads_again[name], grads[name])


@pytest.mark.claim("Q3")
@given(**options, B=sizes, T=sizes, steps=st.sampled_from([0, 1, 9]), seed=seeds)
def test_greedy_decoding_is_torchs(cell, attention_size, B, T, steps, seed):
    rng = np.random.default_rng(seed)
    model, (source, lengths, *_) = model_of(cell, attention_size), draw(rng, B, T, 1)
    params = model.init(rng)
    params["head.weight"] *= 8  # far from ties, and some rows end
    found = decode_greedy(model, params, source, lengths, steps)
    module = TorchSeq2Seq(model, params)
    expected = torch_decoding.decode_greedy(
        module, torch.tensor(source), torch.tensor(lengths), steps
    )
    np.testing.assert_array_equal(found, expected.numpy())


@pytest.mark.claim("Q3", "B7")
@given(**options, seed=seeds)
def test_a_decoded_sequence_is_a_fixed_point_of_teacher_forcing(cell, attention_size, seed):
    rng = np.random.default_rng(seed)
    model, (source, lengths, *_) = model_of(cell, attention_size), draw(rng, 4, 5, 1)
    params = model.init(rng)
    decoded = decode_greedy(model, params, source, lengths, steps=7)
    before_eos = (decoded == EOS).cumsum(axis=1) == 0
    inputs, labels, mask = teacher_forcing(decoded, before_eos.sum(axis=1), BOS, EOS)
    logits, _ = model.forward(params, source, lengths, inputs)
    steps = mask[:, : decoded.shape[1]]  # a row cut off at 7 steps has no ⟨eos⟩
    np.testing.assert_array_equal(logits.argmax(-1)[:, : decoded.shape[1]][steps], decoded[steps])


def test_a_row_that_has_ended_stays_ended_and_decoding_stops_when_all_have():
    steps = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        model, (source, lengths, *_) = model_of(), draw(rng, 4, 5, 1)
        params = model.init(rng)
        params["head.weight"] *= 8
        tokens = decode_greedy(model, params, source, lengths, steps=5)
        ended = (tokens == EOS).cumsum(axis=1) > 0
        assert (tokens[ended] == EOS).all()
        assert tokens.shape[1] == 5 or (ended[:, -1].all() and not ended[:, :-1].all(axis=0).any())
        steps.add(tokens.shape[1])
    assert {1, 2, 5} <= steps


def test_no_steps_give_no_tokens():
    rng = np.random.default_rng(0)
    model, (source, lengths, *_) = model_of(), draw(rng, 4, 5, 1)
    tokens = decode_greedy(model, model.init(rng), source, lengths, steps=0)
    assert tokens.shape == (4, 0) and tokens.dtype.kind == "i"


@pytest.mark.claim("Q1", "Q2", "Q3")
@pytest.mark.parametrize("attention_size", [0, 6])
def test_two_hundred_steps_of_adam_stay_with_torchs(attention_size):
    rng = np.random.default_rng(0)
    model = model_of("GRU", attention_size, hidden_size=8)
    params = model.init(rng)
    module = TorchSeq2Seq(model, params)
    optimizer = torch_optim.adam(module.parameters(), lr=3e-3)
    state, losses = optim.adam_start(params), []
    for step in range(200):
        source, lengths, *_ = draw(rng, 8, 5, 1)
        targets = 4 + source[:, ::-1] % 5  # the source reversed; padding comes first
        targets = np.stack([np.roll(t, n - 5) for t, n in zip(targets, lengths, strict=True)])
        batch = source, lengths, targets, lengths
        loss, grads = seq2seq_step(model, params, *batch)
        params, state = optim.adam(params, grads, state, lr=3e-3)
        optimizer.zero_grad()
        expected = torch_decoding.seq2seq_step(module, *map(torch.tensor, batch))
        expected.backward()
        optimizer.step()
        assert abs(loss - expected.item()) <= 1e-9 * expected.item(), step
        losses.append(loss)
    assert np.mean(losses[-20:]) < 0.8 * losses[0]
    trained = {n: p.detach().numpy() for n, p in module.named_parameters()}
    agree(params, trained, 1e-9)


def test_bad_lengths_are_rejected_with_one_sentence():
    targets = np.array([[5, 6, 7], [8, 4, 4]])
    for lengths in ([3], [3, 4], [-1, 2], [[3, 1]], [1.5, 2.0], [np.nan, 2.0]):
        rejects(ValueError, str(lengths), teacher_forcing, targets, lengths, BOS, EOS)
    rng = np.random.default_rng(0)
    model, (source, n, *_) = model_of(), draw(rng, 2, 5, 3)
    params = model.init(rng)
    before = {name: p.copy() for name, p in params.items()}
    rejects(
        IndexError, "rows 0 to 8", seq2seq_step, model, params, source, n, targets + 4, n * 0 + 3
    )
    for name, p in params.items():
        np.testing.assert_array_equal(p, before[name])
