"""Hessian-vector products: the adjoint's derivative by hand, by torch, and by complex step."""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given

from bptt_oracle.judging.judge import judge
from bptt_oracle.judging.truth import MOVED_RUNS, Expected
from bptt_oracle.judging.wide import longdouble_is_wider, wide_dtype
from reference import GRU, LSTM, activations
from reference.derivatives import second_order, tangent
from support.directions import loss_weights, pair_of, pull, push, tensors, torch_wrap
from support.problems import cast, draw, pull_back, solve, torch_module
from support.single import NETS
from support.strategies import problems, seeds
from support.verdicts import agree, random_like
from torch_impl.derivatives import second_order as torch_second_order
from torch_impl.execution.precision import UNIT_ROUNDOFF


def hessian_vector_product(problem, direction, w):
    """The gradient of L = Σ w ⊙ y² / 2, and its derivative along the direction."""
    outputs, pushed, tape = push(problem, direction)
    cotangents = [{k: w[k] * half[k] for k in w} for half in (outputs, pushed)]
    return pull(problem, tape, cotangents)


def gradient(problem, w):
    outputs, tape = solve(problem)
    return pull_back(problem, tape, {k: w[k] * outputs[k] for k in w})


def by_torch(problem, direction, w):
    """What `hessian_vector_product` finds, by torch's double backward in the inputs' dtype."""
    module, wrap = torch_module(problem.net, problem.inputs["x"].dtype), torch_wrap(problem)

    def loss(leaves):
        values = torch_second_order.run(module, leaves, wrap)
        named = dict(zip(("output", "h_n", "c_n"), values, strict=False))
        return sum((weight * named[k] ** 2).sum() / 2 for k, weight in tensors(w).items())

    results = torch_second_order.hessian_vector_product(
        loss, tensors(problem.inputs), tensors(direction)
    )
    return [{k: v.detach().numpy() for k, v in half.items()} for half in results]


@pytest.mark.claim("X2")
@given(problem=problems(state=True), seed=seeds)
def test_the_hessian_vector_product_is_torch_s_double_backward(problem, seed):
    direction, w = random_like(problem.inputs, seed), loss_weights(problem)
    for mine, torchs in zip(
        hessian_vector_product(problem, direction, w), by_torch(problem, direction, w), strict=True
    ):
        agree(mine, torchs)


def named(halves):
    """The gradient and the Hessian-vector product side by side, as the judge takes them."""
    gradients, products = halves
    return {f"d_{k}": v for k, v in gradients.items()} | {f"Hv_{k}": v for k, v in products.items()}


def expect(problem, direction, w, dtype):
    """Truth in a wider type, and the noise of a careful evaluation, as `judging.truth`."""
    u, wide = UNIT_ROUNDOFF[dtype], wide_dtype(dtype)
    sigmoid, tanh = activations.sigmoid, activations.tanh
    groups = [problem.inputs, direction, w]

    def evaluate(moved):
        inputs, *rest = [{k: moved(v.astype(dtype)) for k, v in g.items()} for g in groups]
        return named(hessian_vector_product(replace(problem, inputs=inputs), *rest))

    truth = evaluate(lambda v: v.astype(wide))
    runs = [evaluate(lambda v: v)]
    for k in range(MOVED_RUNS):
        rng, two = np.random.default_rng(k), np.array([1 - u, 1 + u], wide)

        def moved(v, rng=rng, two=two):
            return v * two[rng.integers(0, 2, v.shape)]

        with (
            mock.patch.object(activations, "sigmoid", lambda a, moved=moved: moved(sigmoid(a))),
            mock.patch.object(activations, "tanh", lambda a, moved=moved: moved(tanh(a))),
        ):
            runs.append(evaluate(moved))
    noise = {}
    for name, exact in truth.items():
        errors = [np.abs(run[name] - exact) for run in runs]
        floor = u * float(np.abs(exact).max())
        noise[name] = (
            max(floor, *(float(e.max()) for e in errors)),
            max(floor / exact.size**0.5, *(float((e * e).mean() ** 0.5) for e in errors)),
        )
    return Expected(truth, noise, False)


@pytest.mark.claim("X2", "X6")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(problem=problems(state=True), seed=seeds)
def test_the_judge_finds_torch_s_double_backward_within_rounding(dtype, problem, seed):
    if dtype == "float64" and not longdouble_is_wider():
        pytest.skip("longdouble is no wider than double on this machine")
    direction, w = random_like(problem.inputs, seed), loss_weights(problem)
    narrow = [{k: v.astype(dtype) for k, v in d.items()} for d in (direction, w)]
    results = named(by_torch(cast(problem, dtype), *narrow))
    verdict = judge(results, expect(problem, direction, w, dtype))
    assert verdict.word in ("agree", "untrusted"), verdict.worst


@pytest.mark.claim("X2", "X6")
@pytest.mark.parametrize("name", sorted(NETS))
def test_the_judge_detects_a_hessian_that_is_wrong_by_a_ten_thousandth(name):
    problem = draw(NETS[name])
    direction, w = random_like(problem.inputs), loss_weights(problem)
    narrow = [{k: v.astype("float32") for k, v in d.items()} for d in (direction, w)]
    results = named(by_torch(cast(problem, "float32"), *narrow))
    measured = expect(problem, direction, w, "float32")
    assert judge(results, measured).word == "agree"
    for tensor in [t for t in results if t.startswith("Hv_")]:
        wrong = results | {tensor: results[tensor] * np.float32(1.0001)}
        assert judge(wrong, measured).word == "fault", tensor


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
    directions = {k: {j: u[j] if j == k else 0 * u[j] for j in u} for k in u}
    moved = {k: hessian_vector_product(problem, directions[k], w)[1] for k in u}
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


UNLIKE = {
    "narrow": (lambda d: d[:, :1], RuntimeError, "d_output of size"),
    "batch first": (lambda d: d.swapaxes(0, 1), RuntimeError, "d_output of size"),
    "float32": (lambda d: d.astype("f"), RuntimeError, "but got float32"),
    "absent": (lambda d: None, TypeError, "d_output should be a Dual"),
}


@pytest.mark.parametrize("half", ["value", "dot"])
@pytest.mark.parametrize("unlike", UNLIKE)
def test_a_cotangent_unlike_the_output_is_rejected(unlike, half):
    net, inputs = (problem := draw(LSTM(3, 4))).net, problem.inputs
    output, state, tape = tangent.forward(net, *pair_of(problem, random_like(inputs)))
    change, error, message = UNLIKE[unlike]
    wrong = output._replace(**{half: change(getattr(output, half))})
    with pytest.raises(error, match=message):
        second_order.backward(net, tape, wrong, state)


@pytest.mark.parametrize("half", ["value", "dot"])
def test_a_cotangent_unlike_the_state_is_rejected(half):
    net, inputs = (problem := draw(LSTM(3, 4))).net, problem.inputs
    output, state, tape = tangent.forward(net, *pair_of(problem, random_like(inputs)))
    h, c = getattr(state, half)
    for wrong, error in [((h, c[:, :1]), RuntimeError), ((h, None), TypeError), (h, TypeError)]:
        with pytest.raises(error, match="d_c_n|the pair"):
            second_order.backward(net, tape, output, state._replace(**{half: wrong}))


def test_cotangents_packed_in_another_order_are_rejected():
    problem = draw(GRU(3, 4), lengths=[2, 5, 4])
    output, state, tape = tangent.forward(
        problem.net, *pair_of(problem, random_like(problem.inputs))
    )
    order = output.dot.sorted_indices[::-1]
    wrong = output._replace(dot=output.dot._replace(sorted_indices=order))
    with pytest.raises(RuntimeError, match="packed as the input is"):
        second_order.backward(problem.net, tape, wrong, state)
