"""Embedding, linear map and dropout: adjoint identities, laws of the forward, torch's values."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from reference.models import layers
from reference.models.parameters import add_prefix, select_prefix
from support.calculus import (
    adjoint_identity_holds,
    agree,
    agrees_with_torch,
    agrees_with_torch_in_float32,
    rejects,
)
from support.strategies import seeds, sizes
from torch_impl.models import layers as torch_layers

LAYERS = ["embedding", "linear", "dropout"]
outer = st.lists(sizes, min_size=1, max_size=3).map(tuple)


@st.composite
def embeddings(draw, padded=True):
    """The weight, run and graph of an embedding, with a padding row or without."""
    V, D, rng = draw(sizes), draw(sizes), np.random.default_rng(draw(seeds))
    ids = rng.integers(0, V, draw(outer))
    pad = draw(st.none() | st.integers(0, V - 1)) if padded else None

    def run(inputs):
        y, tape = layers.embedding(inputs["weight"], ids, pad)
        return {"y": y}, lambda d: {"weight": layers.embedding_back(tape, d["y"])}

    def graph(inputs):
        return {"y": torch_layers.embedding(inputs["weight"], torch.tensor(ids), pad)}

    return {"weight": rng.standard_normal((V, D))}, run, graph


@st.composite
def linears(draw):
    """Inputs, run and graph of a linear map, with or without bias."""
    n_in, n_out, rng = draw(sizes), draw(sizes), np.random.default_rng(draw(seeds))
    shapes = {"x": (*draw(outer), n_in), "weight": (n_out, n_in)}
    if draw(st.booleans()):
        shapes["bias"] = (n_out,)

    def run(inputs):
        y, tape = layers.linear(*inputs.values())

        def pull(d):
            grads = layers.linear_back(tape, d["y"])
            return {"x": grads.x} | grads.params

        return {"y": y}, pull

    def graph(inputs):
        return {"y": torch_layers.linear(*inputs.values())}

    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}, run, graph


@st.composite
def dropouts(draw):
    """x, its mask and p, and run and graph of dropout."""
    p, rng = draw(st.sampled_from([0.0, 0.3, 0.5, 1.0])), np.random.default_rng(draw(seeds))
    x = rng.standard_normal(draw(outer))
    mask = rng.random(x.shape) >= p

    def run(inputs):
        y, tape = layers.dropout(inputs["x"], mask, p)
        return {"y": y}, lambda d: {"x": layers.dropout_back(tape, d["y"])}

    def graph(inputs):
        return {"y": torch_layers.dropout(inputs["x"], torch.tensor(mask), p)}

    return {"x": x}, run, graph, p


@pytest.mark.parametrize("cases", [embeddings(padded=False), linears(), dropouts()], ids=LAYERS)
@given(data=st.data(), seed=seeds)
def test_the_backward_is_the_adjoint_of_the_tangent(cases, data, seed):
    inputs, run = data.draw(cases)[:2]
    adjoint_identity_holds(run, inputs, seed)


@pytest.mark.parametrize("cases", [embeddings(), linears(), dropouts()], ids=LAYERS)
@given(data=st.data(), seed=seeds)
def test_values_and_gradients_are_torchs(cases, data, seed):
    inputs, run, graph = data.draw(cases)[:3]
    agrees_with_torch(run, graph, inputs, seed)
    agrees_with_torch_in_float32(run, graph, inputs, seed)


@given(dropouts(), seeds)
def test_dropout_is_what_torch_does_once_it_has_drawn_the_mask(case, seed):
    p = case[3]
    x = torch.tensor(1 + np.abs(case[0]["x"]))  # not 0, so that a zero in y was dropped
    torch.manual_seed(seed % 2**31)
    y = torch.nn.functional.dropout(x, p)
    found, _ = layers.dropout(x.numpy(), (y != 0).numpy(), p)
    agree({"y": found}, {"y": y.numpy()}, 1e-15)


@pytest.mark.claim("B8")
def test_a_token_met_three_times_collects_three_gradients():
    rng = np.random.default_rng(0)
    _, tape = layers.embedding(rng.standard_normal((5, 3)), np.array([[4, 1], [4, 4]]))
    d_y = rng.standard_normal((2, 2, 3))
    d_weight = layers.embedding_back(tape, d_y)
    np.testing.assert_allclose(d_weight[4], d_y[0, 0] + d_y[1, 0] + d_y[1, 1], rtol=1e-15)
    np.testing.assert_array_equal(d_weight[1], d_y[0, 1])
    assert not d_weight[[0, 2, 3]].any()


@pytest.mark.claim("B8")
def test_the_padding_row_is_read_but_never_trained():
    rng = np.random.default_rng(0)
    weight, ids = rng.standard_normal((5, 3)), np.array([[2, 3], [1, 3]])
    y, tape = layers.embedding(weight, ids, padding_idx=3)
    np.testing.assert_array_equal(y[:, 1], weight[[3, 3]])
    d_weight = layers.embedding_back(tape, rng.standard_normal(y.shape))
    assert not d_weight[3].any() and d_weight[2].all()


@given(seeds)
def test_initial_values_have_torchs_ranges_and_a_zero_padding_row(seed):
    rng = np.random.default_rng(seed)
    weight = layers.embedding_init(rng, 300, 40, padding_idx=7)["weight"]
    assert not weight[7].any()
    assert abs(weight.std() - 1) < 0.05 and abs(weight.mean()) < 0.05
    linear = layers.linear_init(rng, 25, 300)
    assert linear["weight"].shape == (300, 25) and linear["bias"].shape == (300,)
    assert 0.19 < np.abs(linear["weight"]).max() <= 0.2
    assert 0.15 < np.abs(linear["bias"]).max() <= 0.2


def test_adding_a_prefix_is_the_inverse_of_selecting_it():
    params = {"rnn.w": np.array([1.0]), "head.w": np.array([2.0])}
    rnn = select_prefix(params, "rnn.")
    assert rnn == {"w": params["rnn.w"]}
    assert add_prefix(rnn, "rnn.") == {"rnn.w": params["rnn.w"]}


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble, np.complex128])
def test_every_layer_keeps_the_dtype(dtype):
    rng = np.random.default_rng(0)
    x, W, b = (rng.standard_normal(s).astype(dtype) for s in ((4, 3), (5, 3), (5,)))
    y, tape = layers.linear(x, W, b)
    z, scaled = layers.dropout(y, rng.random(y.shape) < 0.5, 0.5)
    e, rows = layers.embedding(z, np.array([1, 3, 1]))
    d_z = layers.embedding_back(rows, e)
    grads = layers.linear_back(tape, layers.dropout_back(scaled, d_z))
    assert {a.dtype for a in (y, z, e, d_z, *grads)} == {np.dtype(dtype)}


def test_bad_input_is_rejected_with_one_sentence():
    W = np.random.default_rng(0).standard_normal((4, 3))
    for token in (4, -1):
        rejects(IndexError, "rows 0 to 3", layers.embedding, W, np.array([[token, 2]]))
        with pytest.raises(IndexError):
            torch_layers.embedding(torch.tensor(W), torch.tensor([[token, 2]]))
    rejects(RuntimeError, "float64", layers.embedding, W, np.array([1.0]))
    with pytest.raises(RuntimeError):
        torch_layers.embedding(torch.tensor(W), torch.tensor([1.0]))
    rejects(RuntimeError, "3 features", layers.linear, np.ones((2, 5)), W)
    with pytest.raises(RuntimeError):
        torch_layers.linear(torch.ones(2, 5, dtype=torch.float64), torch.tensor(W))
    rejects(ValueError, "1.5", layers.dropout, W, W > 0, 1.5)
    rejects(ValueError, "got 1.5", layers.check_padding_idx, 4, 1.5)
    rejects(RuntimeError, "int64", layers.dropout, np.arange(3), np.ones(3, bool), 0.3)
    with pytest.raises(RuntimeError):
        torch.nn.functional.dropout(torch.arange(3), 0.3)


def test_a_cotangent_is_rejected_that_is_not_like_the_output():
    """NumPy would broadcast δy [1, 5] to ids [2, 3]; δy [3, 2, ·] has as many rows as [2, 3, ·]."""
    ids, x, W = np.zeros((2, 3), int), np.ones((2, 3, 5)), np.ones((4, 5))
    tape = layers.embedding(W, ids)[1]
    rejects(RuntimeError, "size (2, 3, 5)", layers.embedding_back, tape, np.ones((1, 5)))
    rejects(TypeError, "got NoneType", layers.embedding_back, tape, None)
    tape = layers.linear(x, W)[1]
    rejects(RuntimeError, "size (2, 3, 4)", layers.linear_back, tape, np.ones((3, 2, 4)))
    rejects(TypeError, "got NoneType", layers.linear_back, tape, None)


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 3, 0)])
def test_a_linear_layer_of_no_rows_or_no_features_has_gradients_of_zeros(shape):
    y, tape = layers.linear(np.ones(shape), np.ones((4, shape[-1])), np.ones(4))
    found = layers.linear_back(tape, np.ones(y.shape))
    assert found.x.shape == shape and found.weight.shape == (4, shape[-1])
    assert not found.weight.any() and found.bias.tolist() == [y.size / 4] * 4


def test_a_dropout_mask_is_rejected_as_a_nets_is():
    x = np.ones((2, 3), np.float32)
    drop = lambda mask: layers.dropout(x, mask, 0.3)  # noqa: E731
    rejects(RuntimeError, "got int64, which would widen", drop, np.ones((2, 3), np.int64))
    rejects(RuntimeError, "got float64, which would widen", drop, np.ones((2, 3)))
    rejects(RuntimeError, "Expected mask of size (2, 3)", drop, np.ones(3, bool))
    rejects(ValueError, "ones where a value is kept", drop, 2 * x)
    rejects(TypeError, "got list", drop, [[1, 1, 1]] * 2)


@given(
    V=sizes,
    D=sizes,
    shape=outer,
    max_norm=st.sampled_from([0, 0.5, 1.5, 100]),
    norm_type=st.sampled_from([1.0, 2.0, 3.0, float("inf")]),
    seed=seeds,
)
def test_rows_that_are_met_are_renormalized_as_in_torch(V, D, shape, max_norm, norm_type, seed):
    rng = np.random.default_rng(seed)
    weight, ids = rng.standard_normal((V, D)), rng.integers(0, V, shape)
    table = torch.tensor(weight)
    F.embedding(torch.tensor(ids), table, max_norm=max_norm, norm_type=norm_type)
    found = layers.renormalize(weight, ids, max_norm, norm_type)
    np.testing.assert_allclose(found, table.numpy(), rtol=1e-12)
    unmet = ~np.isin(np.arange(V), ids)
    assert np.array_equal(found[unmet], weight[unmet])


def test_a_negative_largest_norm_is_rejected_here_and_reverses_rows_in_torch():
    weight, ids = np.ones((2, 3)), np.array([1])
    rejects(ValueError, "at least 0, got -1", layers.renormalize, weight, ids, -1.0)
    rejects(ValueError, "at least 0, got nan", layers.renormalize, weight, ids, np.nan)
    table = torch.tensor(weight)
    F.embedding(torch.tensor(ids), table, max_norm=-1.0)
    assert (table[1] < 0).all()


@given(V=sizes, D=sizes, shape=outer, seed=seeds)
def test_torchs_sparse_gradient_is_the_dense_one(V, D, shape, seed):
    rng = np.random.default_rng(seed)
    weight, ids = rng.standard_normal((V, D)), rng.integers(0, V, shape)
    y, tape = layers.embedding(weight, ids)
    d_y = rng.standard_normal(y.shape)
    leaf = torch.tensor(weight, requires_grad=True)
    F.embedding(torch.tensor(ids), leaf, sparse=True).backward(torch.tensor(d_y))
    assert leaf.grad.is_sparse
    np.testing.assert_allclose(
        leaf.grad.to_dense().numpy(), layers.embedding_back(tape, d_y), rtol=0, atol=1e-12
    )
