"""One to many and one to one: the two shapes of recurrence without a page of their own."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import GRU, LSTM, RNN
from reference.models.generation import generate_greedy
from reference.models.language_model import TinyRNNLM
from reference.models.one_to_many import OneToMany
from support.calculus import (
    adjoint_identity_holds,
    agrees_with_torch,
    agrees_with_torch_in_float32,
    rejects,
)
from support.models import nets, params_of
from support.strategies import seeds, sizes
from torch_impl.models import generation as torch_generation
from torch_impl.models.language_model import TinyRNNLM as TorchLM
from torch_impl.models.one_to_many import OneToMany as TorchOneToMany


@st.composite
def cases(draw, padded=True):
    """A model, ids [B, T], and inputs: z [B, C] and every parameter."""
    V, B, rng = draw(st.integers(2, 6)), draw(sizes), np.random.default_rng(draw(seeds))
    pad = draw(st.none() | st.integers(0, V - 1)) if padded else None
    model = OneToMany(draw(sizes), TinyRNNLM(V, draw(nets()), pad))
    z = rng.standard_normal((B, model.context_size))
    return model, rng.integers(0, V, (B, draw(sizes))), {"z": z} | params_of(model, rng)


def logits_of(model, ids):
    """Logits as a function of z and the parameters, here and in torch."""

    def run(inputs):
        params = {n: v for n, v in inputs.items() if n != "z"}
        logits, tape = model.forward(params, inputs["z"], ids)

        def pull(d):
            grads = model.backward(tape, d["logits"])
            return {"z": grads.z} | grads.params

        return {"logits": logits}, pull

    def graph(leaves):
        own = {n: v for n, v in leaves.items() if n != "z"}
        module = TorchOneToMany(model, {n: v.detach().numpy() for n, v in own.items()})
        args = leaves["z"], torch.tensor(ids)
        return {"logits": torch.func.functional_call(module, own, args)}

    return run, graph


@pytest.mark.claim("A6")
@given(cases(padded=False), seeds)
def test_the_backward_is_the_adjoint_of_the_tangent(case, seed):
    model, ids, inputs = case
    adjoint_identity_holds(logits_of(model, ids)[0], inputs, seed)


@pytest.mark.claim("A6")
@given(cases(), seeds)
def test_logits_and_every_gradient_the_inputs_included_are_torchs(case, seed):
    model, ids, inputs = case
    agrees_with_torch(*logits_of(model, ids), inputs, seed)


@pytest.mark.claim("A6")
@given(cases(), seeds)
def test_in_float32_torch_errs_no_more_than_a_careful_evaluation_does(case, seed):
    model, ids, inputs = case
    agrees_with_torch_in_float32(*logits_of(model, ids), inputs, seed)


@pytest.mark.claim("A6")
@given(cases())
def test_what_is_generated_for_a_vector_is_torchs(case):
    model, ids, inputs = case
    params = {n: v for n, v in inputs.items() if n != "z"}
    state, _ = model.initial_state(params, inputs["z"])
    module = TorchOneToMany(model, params)
    lm = TorchLM(model.lm, {n: v for n, v in params.items() if not n.startswith("bridge.")})
    with torch.no_grad():
        torch_state = module.initial_state(torch.tensor(inputs["z"]))
    np.testing.assert_array_equal(
        generate_greedy(model.lm, params, ids[:, :1], 5, state),
        torch_generation.generate_greedy(lm, torch.tensor(ids[:, :1]), 5, torch_state).numpy(),
    )


@pytest.mark.claim("A6")
@pytest.mark.parametrize("kind", [RNN, GRU, LSTM])
def test_one_to_one_is_a_layer_without_recurrence_its_gradient_of_w_hh_is_zero(kind):
    rng = np.random.default_rng(0)
    lm = TinyRNNLM(5, kind(3, 4, batch_first=True))
    params, ids = params_of(lm, rng), rng.integers(0, 5, (6, 1))
    logits, _, tape = lm.forward(params, ids)
    grads = lm.backward(tape, rng.standard_normal(logits.shape)).params
    assert not grads["rnn.weight_hh_l0"].any() and grads["rnn.weight_ih_l0"].any()
    if kind is RNN:
        u = params["emb.weight"][ids[:, 0]] @ params["rnn.weight_ih_l0"].T
        h = np.tanh(u + params["rnn.bias_ih_l0"] + params["rnn.bias_hh_l0"])
        expected = h @ params["head.weight"].T + params["head.bias"]
        np.testing.assert_allclose(logits[:, 0], expected, rtol=1e-13)


def test_initial_parameters_have_torchs_names_and_shapes():
    model = OneToMany(3, TinyRNNLM(5, LSTM(4, 7, 2, batch_first=True, proj_size=2)))
    params = model.init(np.random.default_rng(0))
    module = TorchOneToMany(model, params)
    assert {n: tuple(p.shape) for n, p in module.named_parameters()} == model.parameter_shapes()
    assert list(params) == list(model.parameter_shapes())


def test_a_vector_of_the_wrong_width_is_rejected_as_torch_does():
    model = OneToMany(3, TinyRNNLM(5, GRU(4, 7, batch_first=True)))
    params = model.init(np.random.default_rng(0))
    z, ids = np.zeros((2, 4)), np.array([[1], [2]])
    rejects(RuntimeError, "3 features", model.forward, params, z, ids)
    with pytest.raises(RuntimeError):
        TorchOneToMany(model, params)(torch.tensor(z), torch.tensor(ids))


@pytest.mark.parametrize("kind", [GRU, LSTM])
def test_a_batch_of_no_vectors_has_gradients_of_zeros(kind):
    model = OneToMany(3, TinyRNNLM(5, kind(4, 7, 2, batch_first=True)))
    params = model.init(np.random.default_rng(0))
    logits, tape = model.forward(params, np.zeros((0, 3)), np.zeros((0, 2), int))
    grads = model.backward(tape, logits)
    assert grads.z.shape == (0, 3)
    assert {n: d.shape for n, d in grads.params.items()} == model.parameter_shapes()
    assert not any(d.any() for d in grads.params.values())
