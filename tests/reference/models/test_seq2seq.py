"""The encoder–decoder: adjoint identity, torch's values, and which inputs affect its logits."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference.models.seq2seq import Seq2Seq
from support.calculus import adjoint_identity_holds, agree, agrees_with_torch_to_rounding, rejects
from support.strategies import seeds, sizes
from torch_impl.models.seq2seq import Seq2Seq as TorchSeq2Seq

VOCABS = {"source_vocab": 7, "target_vocab": 5, "bos": 3, "eos": 1}
cells = st.sampled_from(["RNN", "GRU", "LSTM"])
attentions = st.sampled_from([0, 4])


def draw(cell="GRU", attention=4, B=3, T=6, U=4, E=2, H=5, seed=0, dtype=np.float64):
    """A model, its parameters, and a batch: source, lengths, decoder inputs."""
    rng = np.random.default_rng(seed)
    model = Seq2Seq(**VOCABS, embedding_size=E, hidden_size=H, cell=cell, attention_size=attention)
    params = {n: p.astype(dtype) for n, p in model.init(rng).items()}
    lengths = rng.integers(1, T + 1, B)
    return model, params, rng.integers(0, 7, (B, T)), lengths, rng.integers(0, 5, (B, U))


precisions = st.sampled_from([(np.float32, np.float64), (np.float64, np.longdouble)])
problems = st.builds(draw, cells, attentions, sizes, sizes, sizes, sizes, sizes, seeds)


def run_with(model, *batch):
    """Logits and the gradient of every parameter, in NumPy."""

    def run(params):
        logits, tape = model.forward(params, *batch)
        return {"logits": logits}, lambda d: model.backward(tape, d["logits"])

    return run


def graph_with(model, params, *batch):
    """Logits as computed by the torch module."""
    module = TorchSeq2Seq(model, params)
    args = tuple(torch.tensor(a) for a in batch)
    return lambda tensors: {"logits": torch.func.functional_call(module, tensors, args)}


@pytest.mark.claim("Q1", "Q2", "A6")
@given(problems, seeds)
def test_the_model_is_the_adjoint_of_its_tangent(problem, seed):
    model, params, *batch = problem
    adjoint_identity_holds(run_with(model, *batch), params, seed)


@pytest.mark.claim("Q1", "Q2", "A6")
@given(problems, seeds, precisions)
def test_logits_and_gradients_are_torchs(problem, seed, precision):
    model, params, *batch = problem
    run, graph = run_with(model, *batch), graph_with(model, params, *batch)
    agrees_with_torch_to_rounding(run, graph, params, seed, *precision)


@pytest.mark.claim("Q1")
@given(cells, seeds)
def test_without_attention_all_that_the_decoder_knows_is_the_encoders_last_state(cell, seed):
    model, params, source, lengths, inputs = draw(cell, 0, seed=seed)
    (state, context), _ = model.encode(params, source, lengths)
    x = params["source_emb.weight"][source]
    encoder = {n[8:]: p for n, p in params.items() if n.startswith("encoder.")}
    for b, n in enumerate(lengths):
        _, last, _ = model.encoder.forward(encoder, x[b : b + 1, :n])
        parts = last if isinstance(last, tuple) else (last,)
        agree({"c": context[b]}, {"c": parts[0][0, 0]})
        states = state if isinstance(state, tuple) else (state,)
        for found, expected in zip(states, parts, strict=True):
            agree({"s": found[b]}, {"s": expected[0, 0]})


@pytest.mark.claim("Q1", "Q2")
@given(problems, seeds)
def test_what_lies_beyond_a_sources_length_changes_nothing(problem, seed):
    model, params, source, lengths, inputs = problem
    padding = np.arange(source.shape[1]) >= lengths[:, None]
    other = np.random.default_rng(seed).integers(0, 7, source.shape)
    before, _ = model.forward(params, source, lengths, inputs)
    after, _ = model.forward(params, np.where(padding, other, source), lengths, inputs)
    np.testing.assert_array_equal(after, before)


@pytest.mark.claim("Q1", "Q2")
@given(problems)
def test_a_row_alone_is_the_row_in_its_batch(problem):
    model, params, source, lengths, inputs = problem
    logits, _ = model.forward(params, source, lengths, inputs)
    for b, n in enumerate(lengths):
        row = source[b : b + 1, :n], lengths[b : b + 1], inputs[b : b + 1]
        own, _ = model.forward(params, *row)
        agree({"o": own[0]}, {"o": logits[b]}, 1e-11)


@pytest.mark.claim("Q3")
@given(problems, seeds)
def test_logits_do_not_see_the_tokens_they_are_to_predict(problem, seed):
    model, params, source, lengths, inputs = problem
    u = inputs.shape[1] // 2
    other = inputs.copy()
    other[:, u + 1 :] = np.random.default_rng(seed).integers(0, 5, other[:, u + 1 :].shape)
    before, _ = model.forward(params, source, lengths, inputs)
    after, _ = model.forward(params, source, lengths, other)
    np.testing.assert_array_equal(after[:, : u + 1], before[:, : u + 1])


@pytest.mark.claim("Q2")
def test_attention_sends_a_gradient_to_every_encoder_state_past_a_closed_encoder():
    """With W_hh = 0 the last state depends on the last token only; attention reaches the others."""
    reached = {}
    for attention in (0, 4):
        model, params, source, _, inputs = draw("RNN", attention, seed=1)
        params["encoder.weight_hh_l0"][:] = 0
        source[:] = [0, 1, 2, 3, 4, 5]  # token t occurs at step t only
        lengths = np.full(3, 6)
        logits, tape = model.forward(params, source, lengths, inputs)
        d_logits = np.random.default_rng(2).standard_normal(logits.shape)
        reached[attention] = model.backward(tape, d_logits)["source_emb.weight"].any(axis=1)
    np.testing.assert_array_equal(reached[0], [0, 0, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(reached[4], [1, 1, 1, 1, 1, 1, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble])
@pytest.mark.parametrize("attention", [0, 4])
def test_the_model_keeps_the_dtype(dtype, attention):
    model, params, *batch = draw("LSTM", attention, dtype=dtype)
    outputs, pull = run_with(model, *batch)(params)
    assert {a.dtype for a in (*outputs.values(), *pull(outputs).values())} == {np.dtype(dtype)}


def test_parameters_have_torchs_names_and_shapes_in_torchs_order():
    for cell in ("RNN", "GRU", "LSTM"):
        model, params, *_ = draw(cell)
        named = TorchSeq2Seq(model, params).named_parameters()
        shapes = {name: tuple(p.shape) for name, p in named}
        assert shapes == model.parameter_shapes() == {n: p.shape for n, p in params.items()}


def test_bad_input_is_rejected_with_one_sentence():
    model, params, source, lengths, inputs = draw()
    forward = model.forward
    rejects(IndexError, "rows 0 to 6", forward, params, source + 7, lengths, inputs)
    rejects(IndexError, "rows 0 to 4", forward, params, source, lengths, inputs + 5)
    rejects(ValueError, "got [2, 4]", forward, params, source, lengths, inputs[:2])
    rejects(ValueError, "got [3, 0]", forward, params, source, lengths, inputs[:, :0])
    with pytest.raises(RuntimeError):
        forward(params, source, lengths * 0, inputs)
    with pytest.raises(RuntimeError):
        forward(params, source[:0], lengths[:0], inputs[:0].reshape(0, 4))
    build = lambda **wrong: Seq2Seq(  # noqa: E731
        **({"embedding_size": 2, "hidden_size": 3} | VOCABS | wrong)
    )
    rejects(ValueError, "'LSTN'", lambda: build(cell="LSTN"))
    rejects(ValueError, "bos", lambda: build(bos=5))
    rejects(ValueError, "eos", lambda: build(eos=-1))
    rejects(ValueError, "-1", lambda: build(attention_size=-1))
