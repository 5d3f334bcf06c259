"""Hessian-vector products: the adjoint's derivative by hand, by torch, and by complex step."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from directions import loss_weights, pair_of, pull, push, tensors, torch_wrap
from problems import draw, pull_back, solve, torch_module
from reference import GRU, LSTM, second_order, tangent
from reference.dual import Dual
from single import NETS
from strategies import problems, seeds
from torch_impl import second_order as torch_second_order
from verdicts import agree, random_like


def hessian_vector_product(problem, direction, w):
    """The gradient of L = Σ w ⊙ y² / 2, and its derivative along the direction."""
    outputs, pushed, tape = push(problem, direction)
    cotangents = [{k: w[k] * half[k] for k in w} for half in (outputs, pushed)]
    return pull(problem, tape, cotangents)


def gradient(problem, w):
    outputs, tape = solve(problem)
    return pull_back(problem, tape, {k: w[k] * outputs[k] for k in w})


@pytest.mark.claim("X2")
@given(problem=problems(state=True), seed=seeds)
def test_the_hessian_vector_product_is_torch_s_double_backward(problem, seed):
    direction, w = random_like(problem.inputs, seed), loss_weights(problem)
    module, wrap = torch_module(problem.net), torch_wrap(problem)

    def loss(leaves):
        values = torch_second_order.run(module, leaves, wrap)
        named = dict(zip(("output", "h_n", "c_n"), values, strict=False))
        return sum((weight * named[k] ** 2).sum() / 2 for k, weight in tensors(w).items())

    first, second = torch_second_order.hessian_vector_product(
        loss, tensors(problem.inputs), tensors(direction)
    )
    value, dot = hessian_vector_product(problem, direction, w)
    agree(value, {k: v.detach().numpy() for k, v in first.items()})
    agree(dot, {k: v.numpy() for k, v in second.items()})


@pytest.mark.claim("X2")
@given(problem=problems(), seed=seeds)
def test_the_hessian_vector_product_is_the_complex_step_of_the_gradient(problem, seed):
    direction, w = random_like(problem.inputs, seed), loss_weights(problem)
    nudged = {k: v + 1e-30j * direction[k] for k, v in problem.inputs.items()}
    moved = gradient(replace(problem, inputs=nudged), w)
    value, dot = hessian_vector_product(problem, direction, w)
    agree(value, gradient(problem, w))
    agree(dot, {k: v.imag / 1e-30 for k, v in moved.items()})


@pytest.mark.claim("X2")
@given(problem=problems(), seed=seeds)
def test_the_hessian_is_symmetric(problem, seed):
    u, v = random_like(problem.inputs, seed), random_like(problem.inputs, seed + 1)
    w = loss_weights(problem)
    H_u, H_v = [hessian_vector_product(problem, d, w)[1] for d in (u, v)]
    left, right = [H_u[k] * v[k] for k in u], [H_v[k] * u[k] for k in u]
    total = sum(np.abs(term).sum() for term in left + right)
    assert abs(sum(t.sum() for t in left) - sum(t.sum() for t in right)) <= 1e-12 * total


@pytest.mark.claim("X2")
@pytest.mark.parametrize("name", sorted(NETS))
def test_every_block_of_the_hessian_couples_with_every_other_as_its_transpose(name):
    problem = draw(NETS[name])
    w, u = loss_weights(problem), random_like(problem.inputs)
    alone = {k: {j: u[j] if j == k else 0 * u[j] for j in u} for k in u}
    moved = {k: hessian_vector_product(problem, alone[k], w)[1] for k in u}
    block = np.array([[(moved[k][j] * u[j]).sum() for k in u] for j in u])
    assert np.abs(block - block.T).max() <= 1e-12 * np.abs(block).max()
    assert np.abs(block).min() > 0, "no pair of inputs is left uncoupled"


@pytest.mark.claim("X2", "A7")
def test_dropout_masks_the_second_derivative_too():
    net = GRU(3, 4, num_layers=3, dropout=0.25, bidirectional=True)
    problem, rng = draw(net), np.random.default_rng(0)
    masks = tuple(rng.integers(0, 2, (5, 3, 8)).astype(float) for _ in range(2))
    problem = replace(problem, masks=masks)
    direction, w = random_like(problem.inputs), loss_weights(problem)
    nudged = {k: v + 1e-30j * direction[k] for k, v in problem.inputs.items()}
    complex_masks = tuple(m.astype(complex) for m in masks)
    moved = gradient(replace(problem, inputs=nudged, masks=complex_masks), w)
    _, dot = hessian_vector_product(problem, direction, w)
    agree(dot, {k: v.imag / 1e-30 for k, v in moved.items()})


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble])
@pytest.mark.parametrize("name", sorted(NETS))
def test_the_dtype_is_kept(name, dtype):
    problem = draw(NETS[name])
    problem = replace(problem, inputs={k: v.astype(dtype) for k, v in problem.inputs.items()})
    halves = hessian_vector_product(problem, random_like(problem.inputs), loss_weights(problem))
    assert {v.dtype for half in halves for v in half.values()} == {np.dtype(dtype)}


def test_a_cotangent_that_would_be_broadcast_is_refused():
    problem = draw(LSTM(3, 4))
    output, state, tape = tangent.forward(
        problem.net, *pair_of(problem, random_like(problem.inputs))
    )
    narrow = Dual(*[half[:, :1] for half in output])
    with pytest.raises(RuntimeError, match="Expected cotangents with rows"):
        second_order.backward(problem.net, tape, narrow, state)
