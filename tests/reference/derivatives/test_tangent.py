"""Forward mode by hand: equal to the complex step, to torch's forward mode, and to BPTT."""

import numpy as np
import pytest
import torch
from hypothesis import given

from reference import LSTM, RNN
from reference.derivatives import jacobian, second_order, tangent
from reference.derivatives.dual import Dual
from reference.nets.modules import RecurrentNet
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
def test_the_tangent_is_linear_in_its_direction_and_depends_on_every_input(name):
    problem = draw(NETS[name])
    one, two = random_like(problem.inputs, 1), random_like(problem.inputs, 2)
    combined = {k: 2 * one[k] - 3 * two[k] for k in one}
    pushed = [push(problem, d)[1] for d in (one, two, combined)]
    agree(pushed[2], {k: 2 * pushed[0][k] - 3 * pushed[1][k] for k in pushed[0]})
    for k, v in one.items():
        single = {j: v if j == k else 0 * one[j] for j in one}
        assert push(problem, single)[1]["output"].any(), k


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
    results = [outputs, pushed, *pull(problem, tape, (outputs, pushed))]
    assert {v.dtype for arrays in results for v in arrays.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize("name", ["GRU_TEXTBOOK", "LSTM_PEEPHOLE"])
def test_a_cell_without_a_derived_tangent_or_jacobian_is_rejected(name):
    net = RecurrentNet(name, 3, 4)
    params, x = net.init(np.random.default_rng(0)), np.ones((5, 2, 3))
    with pytest.raises(ValueError, match=f"derived tangent, .* got {name}"):
        tangent.forward(net, Dual(params, params), Dual(x, x))
    with pytest.raises(ValueError, match=f"derived Jacobian, .* got {name}"):
        next(jacobian.linearize_steps(net, params, x, None))


def test_a_direction_of_another_shape_is_rejected_as_by_net_forward():
    problem = draw(RNN(3, 4))
    params, x, state = pair_of(problem, random_like(problem.inputs))
    with pytest.raises(RuntimeError, match="input_size"):
        tangent.forward(problem.net, params, x._replace(dot=x.dot[:, :, :2]), state)


def test_a_direction_in_another_layout_than_x_is_rejected():
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
        results = [v.numpy() for v in values]
    agree(dict(zip(("output", "h_n"), results, strict=True)), solve(problem)[0])


@pytest.mark.parametrize("net", [RNN(3, 4), LSTM(3, 4)], ids=["RNN", "LSTM"])
def test_a_plain_value_in_place_of_a_dual_is_rejected(net):
    """It would be used as its own derivative."""
    problem = draw(net)
    params, x, state = pair_of(problem, random_like(problem.inputs))
    plain = {"params": params.value, "x": x.value, "state": state.value}
    arguments = {"params": params, "x": x, "state": state}
    for name, value in plain.items():
        for wrong in (value, Dual(value, None), Dual(None, value)):
            with pytest.raises(TypeError, match=f"^{name} should be a Dual"):
                tangent.forward(net, **arguments | {name: wrong})
    output, final, tape = tangent.forward(net, **arguments)
    for wrong in ({"d_output": output.value}, {"d_state": final.value}, {"d_output": None}):
        cotangents = {"d_output": output, "d_state": final} | wrong
        with pytest.raises(TypeError, match=f"^{next(iter(wrong))} should be a Dual"):
            second_order.backward(net, tape, **cotangents)
