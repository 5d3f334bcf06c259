"""Forward mode by hand: equal to the complex step, to torch's forward mode, and to BPTT."""

import numpy as np
import pytest
import torch
from hypothesis import given

from reference import LSTM, RNN
from reference.derivatives import second_order, tangent
from reference.derivatives.dual import Dual
from support.directions import pair_of, pull, push, tensors, torch_wrap
from support.problems import draw, pull_back, solve, torch_module
from support.single import NETS
from support.strategies import problems, seeds
from support.verdicts import agree, derivative, random_like
from torch_impl.derivatives import second_order as torch_second_order


@pytest.mark.claim("X1")
@given(problem=problems(), seed=seeds)
def test_the_tangent_is_the_complex_step(problem, seed):
    direction = random_like(problem.inputs, seed)
    outputs, pushed, _ = push(problem, direction)
    agree(outputs, solve(problem)[0])
    agree(pushed, derivative(problem, direction))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own forward mode
@pytest.mark.claim("X1")
@given(problem=problems(state=True), seed=seeds)
def test_the_tangent_is_torch_s_forward_mode(problem, seed):
    direction = random_like(problem.inputs, seed)
    module, wrap = torch_module(problem.net).eval(), torch_wrap(problem)
    expected = torch_second_order.tangent(module, tensors(problem.inputs), tensors(direction), wrap)
    _, pushed, _ = push(problem, direction)
    named = zip(("output", "h_n", "c_n"), expected, strict=False)
    agree(pushed, {name: v.numpy() for name, v in named})


@pytest.mark.claim("X1")
@given(problem=problems(), seed=seeds)
def test_pushing_forward_and_pulling_back_give_one_inner_product(problem, seed):
    direction = random_like(problem.inputs, seed)
    outputs, pushed, _ = push(problem, direction)
    cotangents = random_like(outputs, seed + 1)
    _, tape = solve(problem)
    pulled = pull_back(problem, tape, cotangents)
    left = [(cotangents[k] * pushed[k]) for k in outputs]
    right = [(pulled[k] * direction[k]) for k in problem.inputs]
    total = sum(np.abs(v).sum() for v in left + right)
    assert abs(sum(v.sum() for v in left) - sum(v.sum() for v in right)) <= 1e-12 * total


@pytest.mark.claim("X1")
@pytest.mark.parametrize("name", sorted(NETS))
def test_the_tangent_is_linear_in_its_direction_and_blind_to_nothing(name):
    problem = draw(NETS[name])
    one, two = random_like(problem.inputs, 1), random_like(problem.inputs, 2)
    both = {k: 2 * one[k] - 3 * two[k] for k in one}
    pushed = [push(problem, d)[1] for d in (one, two, both)]
    agree(pushed[2], {k: 2 * pushed[0][k] - 3 * pushed[1][k] for k in pushed[0]})
    for k, v in one.items():
        alone = {j: v if j == k else 0 * one[j] for j in one}
        assert push(problem, alone)[1]["output"].any(), k


@pytest.mark.claim("X1", "A7")
def test_dropout_scales_the_tangent_by_the_mask_of_the_forward_pass():
    net = LSTM(3, 4, num_layers=3, dropout=0.25)
    problem = draw(net)
    rng = np.random.default_rng(0)
    masks = tuple(rng.integers(0, 2, (5, 3, 4)).astype(float) for _ in range(2))
    problem = type(problem)(net, problem.inputs, problem.packing, masks)
    direction = random_like(problem.inputs)
    outputs, pushed, _ = push(problem, direction)
    agree(outputs, solve(problem)[0])
    agree(pushed, derivative(problem, direction))


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble])
@pytest.mark.parametrize("name", sorted(NETS))
def test_the_dtype_is_kept(name, dtype):
    problem = draw(NETS[name])
    inputs = {k: v.astype(dtype) for k, v in problem.inputs.items()}
    problem = type(problem)(problem.net, inputs)
    outputs, pushed, _ = push(problem, random_like(inputs))
    assert {v.dtype for v in (*outputs.values(), *pushed.values())} == {np.dtype(dtype)}


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble])
def test_masks_of_booleans_widen_no_value_tangent_or_gradient(dtype):
    problem = draw(LSTM(3, 4, num_layers=2, dropout=0.25))
    inputs = {k: v.astype(dtype) for k, v in problem.inputs.items()}
    mask = np.random.default_rng(0).random((5, 3, 4)) < 0.75
    problem = type(problem)(problem.net, inputs, None, (mask,))
    outputs, pushed, tape = push(problem, random_like(inputs))
    found = [outputs, pushed, *pull(problem, tape, (outputs, pushed))]
    assert {v.dtype for arrays in found for v in arrays.values()} == {np.dtype(dtype)}


def test_a_direction_of_another_shape_is_refused_as_the_facade_refuses_it():
    problem = draw(RNN(3, 4))
    params, x, state = pair_of(problem, random_like(problem.inputs))
    with pytest.raises(RuntimeError, match="input_size"):
        tangent.forward(problem.net, params, x._replace(dot=x.dot[:, :, :2]), state)


def test_a_direction_that_does_not_lie_as_x_does_is_refused():
    problem = draw(RNN(3, 4), lengths=[4, 2])
    params, x, state = pair_of(problem, random_like(problem.inputs))
    for dot, message in [
        (x.dot._replace(batch_sizes=np.array([2, 1, 1, 1, 1])), "packed as the input is"),
        (x.dot._replace(sorted_indices=None, unsorted_indices=None), "packed as the input is"),
    ]:
        with pytest.raises(RuntimeError, match=message):
            tangent.forward(problem.net, params, x._replace(dot=dot), state)
    problem = draw(RNN(3, 4), state=False)
    params, x, _ = pair_of(problem, random_like(problem.inputs))
    longer = x._replace(dot=np.concatenate([x.dot, x.dot]))
    with pytest.raises(RuntimeError, match="of size"):
        tangent.forward(problem.net, params, longer)


def test_torch_differentiates_the_same_function():
    problem = draw(RNN(3, 4))
    values = torch_second_order.run(torch_module(problem.net), tensors(problem.inputs))
    with torch.no_grad():
        found = [v.numpy() for v in values]
    agree(dict(zip(("output", "h_n"), found, strict=True)), solve(problem)[0])


@pytest.mark.parametrize("net", [RNN(3, 4), LSTM(3, 4)], ids=["RNN", "LSTM"])
def test_a_plain_value_is_refused_for_it_would_be_taken_for_its_own_derivative(net):
    problem = draw(net)
    params, x, state = pair_of(problem, random_like(problem.inputs))
    plain = {"params": params.value, "x": x.value, "state": state.value}
    given = {"params": params, "x": x, "state": state}
    for name, value in plain.items():
        for wrong in (value, Dual(value, None), Dual(None, value)):
            with pytest.raises(TypeError, match=f"^{name} should be a Dual"):
                tangent.forward(net, **given | {name: wrong})
    output, final, tape = tangent.forward(net, **given)
    for wrong in ({"d_output": output.value}, {"d_state": final.value}, {"d_output": None}):
        cotangents = {"d_output": output, "d_state": final} | wrong
        with pytest.raises(TypeError, match=f"^{next(iter(wrong))} should be a Dual"):
            second_order.backward(net, tape, **cotangents)
