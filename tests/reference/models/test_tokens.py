"""Tokens of every integer type: same values and gradients as int64; other types are rejected."""

import numpy as np
import pytest
import torch

import torch_impl.models.decoding as torch_decoding
from reference import GRU, LSTM
from reference.models import decoding, generation, layers, loss
from reference.models.classifier import SequenceClassifier, classifier_step
from reference.models.language_model import (
    TinyRNNLM,
    lm_step,
    log_probability,
    loss_and_grads,
)
from reference.models.one_to_many import OneToMany
from reference.models.seq2seq import Seq2Seq
from reference.streams import truncated
from reference.streams.chunks import chunks
from support.calculus import rejects
from support.models import params_of

INTEGERS = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i2", ">u4"]
V = 7
LM = TinyRNNLM(V, LSTM(3, 4, batch_first=True), padding_idx=0)
CLF = SequenceClassifier(V, 4, GRU(3, 4, bidirectional=True), padding_idx=2)
MODELS = {size: Seq2Seq(V, 9, 3, 5, 3, 1, attention_size=size) for size in (0, 4)}
IDS = np.array([[1, 5, 2, 6], [3, 3, 4, 1], [6, 1, 0, 0]])
TARGETS = np.array([[5, 8, 4], [6, 0, 0], [7, 7, 0]])
LENGTHS, TARGET_LENGTHS, LABELS = np.array([4, 3, 2]), np.array([3, 0, 2]), np.array([3, 0, 2])


def rng():
    """A generator that draws the same numbers in every call."""
    return np.random.default_rng(0)


def embedding(tokens):
    weight = rng().standard_normal((V, 3))
    y, tape = layers.embedding(weight, tokens(IDS), 2)
    return y, tape.ids, layers.embedding_back(tape, y)


def embedding_of_one_token(tokens):
    y, tape = layers.embedding(rng().standard_normal((V, 3)), tokens(IDS)[0, 0])
    return y, layers.embedding_back(tape, y)


def cross_entropy(tokens):
    logits = rng().standard_normal((3, 4, V))
    value, tape = loss.cross_entropy(logits, tokens(IDS), IDS != 0, loss.per_sequence)
    return value, loss.cross_entropy_back(tape)


def language_model(tokens):
    params = params_of(LM, rng())
    logits, state, tape = LM.forward(params, tokens(IDS))
    return logits, state, LM.backward(tape, logits, state)


def of_a_language_model(function, *rest):
    return lambda tokens: function(LM, params_of(LM, rng()), tokens(IDS), *rest)


def loss_of_inputs_and_targets(tokens):
    ids = tokens(IDS)
    return loss_and_grads(LM, params_of(LM, rng()), ids[:, :-1], ids[:, 1:])


def classifier(tokens):
    return classifier_step(CLF, params_of(CLF, rng()), tokens(IDS), LENGTHS, tokens(LABELS))


def one_to_many(tokens):
    model = OneToMany(3, LM)
    logits, tape = model.forward(params_of(model, rng()), np.ones((3, 3)), tokens(IDS))
    return logits, model.backward(tape, logits)


def seq2seq(size):
    def run(tokens):
        model = MODELS[size]
        params = params_of(model, rng())
        logits, tape = model.forward(params, tokens(IDS), LENGTHS, tokens(TARGETS))
        return logits, model.backward(tape, logits)

    return run


def step_of_seq2seq(size):
    def run(tokens):
        params = params_of(MODELS[size], rng())
        batch = tokens(IDS), tokens(LENGTHS), tokens(TARGETS), tokens(TARGET_LENGTHS)
        return decoding.seq2seq_step(MODELS[size], params, *batch)

    return run


def decode_greedy(tokens):
    params = params_of(MODELS[4], rng(), scale=3)
    return decoding.decode_greedy(MODELS[4], params, tokens(IDS), LENGTHS, 5)


def encoder(tokens):
    encoded, _ = MODELS[4].encode(params_of(MODELS[4], rng()), tokens(IDS), LENGTHS)
    return encoded


def teacher_forcing(tokens):
    return decoding.teacher_forcing(tokens(TARGETS), TARGET_LENGTHS, 300, 256)


def chunked(tokens):
    streams = {"a": tokens(IDS[0]), "b": tokens(IDS[1])}
    results = list(chunks(streams, 2, 2, pad=np.uint8(0)))
    return [(c.inputs, c.targets, c.mask, c.reset) for c in results]


def truncated_steps(tokens):
    def objective(logits, y):
        value, tape = loss.cross_entropy(logits, y)
        return value, loss.cross_entropy_back(tape)

    blocks = [(tokens(IDS[:, :2]), tokens(IDS[:, 1:3])), (tokens(IDS[:, 2:3]), tokens(IDS[:, 3:]))]
    passes = truncated.tbptt(LM, params_of(LM, rng()), blocks, objective, None, 1, 2)
    return [(p.loss, p.state, p.params) for p in passes]


DRAWS = np.random.default_rng(1).random((3, 3))
CALLS = {
    "embedding": embedding,
    "embedding of one token": embedding_of_one_token,
    "cross_entropy": cross_entropy,
    "shift": lambda tokens: loss.shift(tokens(IDS)),
    "language model": language_model,
    "lm_step": of_a_language_model(lm_step),
    "loss_and_grads": loss_of_inputs_and_targets,
    "log_probability": of_a_language_model(log_probability),
    "generate_greedy": of_a_language_model(generation.generate_greedy, 3),
    "generate_greedy of no steps": of_a_language_model(generation.generate_greedy, 0),
    "generate_sampled": of_a_language_model(generation.generate_sampled, DRAWS),
    "scheduled_inputs": lambda tokens: generation.scheduled_inputs(
        LM, params_of(LM, rng()), tokens(IDS[:, :3]), DRAWS < 0.5, DRAWS
    ),
    "scheduled_step": of_a_language_model(generation.scheduled_step, DRAWS < 0.5, DRAWS),
    "classifier": classifier,
    "one to many": one_to_many,
    "encoder": encoder,
    "seq2seq": seq2seq(0),
    "seq2seq with attention": seq2seq(4),
    "seq2seq_step": step_of_seq2seq(0),
    "seq2seq_step with attention": step_of_seq2seq(4),
    "decode_greedy": decode_greedy,
    "teacher_forcing": teacher_forcing,
    "chunks": chunked,
    "tbptt": truncated_steps,
}


def exact(value):
    """Type, shape and values of every array in a structure."""
    if isinstance(value, (tuple, list)):
        return [exact(v) for v in value]
    if isinstance(value, dict):
        return {name: exact(v) for name, v in value.items()}
    array = np.asarray(value)
    return array.dtype, array.shape, array.tobytes()


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("call", CALLS)
def test_tokens_of_every_integer_type_give_the_bits_of_int64(call, dtype):
    expected = CALLS[call](lambda a: a.astype(np.int64))
    assert exact(CALLS[call](lambda a: a.astype(dtype))) == exact(expected)


ARRAYS = [call for call in CALLS if call != "embedding of one token"]


@pytest.mark.parametrize("dtype", ["?", "f4", "f8", "c16", "O", "U1", "m8[s]"])
@pytest.mark.parametrize("call", ARRAYS)
def test_tokens_of_other_types_are_rejected_with_one_sentence(call, dtype):
    error = ValueError if call == "chunks" else RuntimeError
    rejects(error, f"to be integers, got {np.dtype(dtype)}", CALLS[call], lambda a: a.astype(dtype))


@pytest.mark.parametrize("call", ARRAYS)
def test_masked_tokens_are_rejected_with_one_sentence(call):
    def hide_last(a):
        return np.ma.masked_array(a, a == a.flat[-1])

    rejects(TypeError, "an array without a mask, got MaskedArray", CALLS[call], hide_last)


@pytest.mark.parametrize("call", ["embedding", "lm_step", "classifier", "seq2seq", "decode_greedy"])
def test_lists_of_tokens_are_rejected_with_one_sentence(call):
    rejects(TypeError, "got list", CALLS[call], lambda a: a.tolist())


def test_a_stream_may_be_a_list():
    tokens = IDS[0].tolist()
    expected = chunks({"a": IDS[0]}, 1, 2)
    for found, chunk in zip(chunks({"a": tokens}, 1, 2), expected, strict=True):
        assert exact(found.inputs) == exact(chunk.inputs)
    rejects(ValueError, "'a' to be integers, got float64", chunks, {"a": [1.0, 2.0]}, 1, 2)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_bos_and_eos_that_the_targets_type_cannot_hold_are_written_all_the_same(dtype):
    """256 and 300 would be 0 and 44 in uint8. torch needs int64 targets for the same values."""
    lengths = np.array([3, 0, 2])
    inputs, labels, mask = decoding.teacher_forcing(TARGETS.astype(dtype), lengths, 300, 256)
    assert inputs.dtype == labels.dtype == np.intp
    expected = torch_decoding.teacher_forcing(
        torch.tensor(TARGETS), torch.tensor(lengths), 300, 256
    )
    np.testing.assert_array_equal(inputs, expected[0])
    np.testing.assert_array_equal(labels[mask], expected[1].numpy()[mask])


def test_bos_and_eos_of_numpys_types_decode_as_integers_of_python_do():
    params = params_of(MODELS[4], rng(), scale=3)
    model = Seq2Seq(V, 9, 3, 5, np.uint8(3), np.uint64(1), attention_size=4)
    expected = decoding.decode_greedy(MODELS[4], params, IDS, LENGTHS, 5)
    np.testing.assert_array_equal(
        decoding.decode_greedy(model, params, IDS, LENGTHS, 5), expected, strict=True
    )
    inputs, labels, _ = decoding.teacher_forcing(TARGETS, [3, 0, 2], np.uint8(3), np.uint64(1))
    assert inputs.dtype == labels.dtype == np.intp


def test_a_token_above_the_largest_intp_is_outside_every_vocabulary():
    """It does not wrap to a negative one; where a label is masked, it has no effect."""
    ids = np.array([[1, 2**63 + 1]], np.uint64)
    rejects(IndexError, f"to {2**63 - 1}", layers.embedding, np.ones((3, 2)), ids)
    logits = np.zeros((1, 2, 3))
    rejects(IndexError, f"Target {2**63 - 1} is out", loss.cross_entropy, logits, ids)
    value, _ = loss.cross_entropy(logits, ids, np.array([[True, False]]))
    assert value == np.log(3)
    (chunk,) = chunks({"a": ids[0]}, 1, 2)
    assert chunk.targets.tolist() == [[2**63 - 1]]


def test_the_probability_of_a_last_token_outside_the_vocabulary_is_rejected():
    """A last token of −1 is never an input; without a check it would select the last logit."""
    params = params_of(LM, rng())
    for token in (-1, V):
        rejects(IndexError, f"Target {token}", log_probability, LM, params, np.array([[1, token]]))


@pytest.mark.parametrize("token", [1.0, True, None, "1", np.bool_(True), np.array(1)])
def test_a_single_token_that_is_not_an_integer_is_rejected(token):
    lengths = np.array([3, 0, 2])
    rejects(ValueError, "bos", decoding.teacher_forcing, TARGETS, lengths, token, 1)
    rejects(ValueError, "eos", decoding.teacher_forcing, TARGETS, lengths, 1, token)
    rejects(ValueError, "bos", Seq2Seq, V, 9, 3, 5, token, 1)
    rejects(ValueError, "pad", chunks, {"a": IDS[0]}, 1, 2, token)
    if token is not None:
        rejects(ValueError, "padding_idx", layers.check_padding_idx, V, token)


def test_targets_without_two_axes_are_rejected():
    rejects(ValueError, "got [3]", decoding.teacher_forcing, TARGETS[0], np.array([3]), 3, 1)
