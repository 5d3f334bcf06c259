"""One step's explicit matrices: they are the derivatives, by complex step and by autograd."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference.derivatives import jacobian
from support.problems import torch_module
from support.single import NETS, close, concatenate_state, derivative, single
from support.strategies import seeds
from torch_impl.derivatives import jacobian as torch_jacobian

names = st.sampled_from(sorted(NETS))


def first_step(p):
    return next(jacobian.linearize_steps(p.net, p.params, p.x, p.state))


@pytest.mark.claim("B5", "D3")
@given(name=names, seed=seeds)
def test_the_jacobian_is_torch_s(name, seed):
    p = single(name, seed=seed)
    module = torch_module(p.net)
    with torch.no_grad():
        for key, value in module.named_parameters():
            value.copy_(torch.tensor(p.params[key]))
    state = torch.tensor(concatenate_state(p.net, p.state))
    expected = torch_jacobian.jacobian(module, torch.tensor(p.x[0]), state)
    close(jacobian.jacobian(p.weights, first_step(p)), expected)


@pytest.mark.claim("D3")
@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_the_jacobian_of_the_simple_cell_is_its_slope_times_the_recurrent_weight(name):
    p = single(name)
    h = p.net.forward(p.params, p.x[:1], p.state)[0][0]
    slope = 1 - h**2 if name == "tanh" else (h > 0) * 1.0
    expected = [np.diag(row) @ p.params["weight_hh_l0"] for row in slope]
    close(jacobian.jacobian(p.weights, first_step(p)), expected)


@pytest.mark.parametrize("value", [-np.inf, np.inf, np.nan])
def test_a_step_with_a_bias_that_is_not_finite_has_the_state_of_the_forward_pass(value):
    p = single("relu")
    params = p.params | {"bias_ih_l0": np.full(4, value)}
    h = next(jacobian.linearize_steps(p.net, params, p.x, p.state)).after.h
    assert np.array_equal(h, p.net.forward(params, p.x[:1], p.state)[0][0], equal_nan=True)


@pytest.mark.claim("B5", "X1")
@given(name=names, seed=seeds)
def test_the_columns_of_the_jacobian_are_complex_steps_of_the_state(name, seed):
    p = single(name, seed=seed, T=1)
    J = jacobian.jacobian(p.weights, first_step(p))
    fields = p.state if p.net.mode == "LSTM" else (p.state,)
    units = [(f, unit) for f, field in enumerate(fields) for unit in range(field.shape[2])]
    moved = []
    for f, unit in units:
        u = [np.zeros_like(field) for field in fields]
        u[f][:, :, unit] = 1
        moved.append(derivative(p, d_state=u)[1])
    close(J, np.stack(moved, axis=2))


@pytest.mark.claim("X1")
@given(name=names, seed=seeds)
def test_the_derivatives_by_parameter_are_complex_steps_of_the_state(name, seed):
    p = single(name, seed=seed, T=1)
    results = jacobian.parameter_jacobians(p.weights, first_step(p))
    assert {f"{key}_l0" for key in results} == p.params.keys()
    rng = np.random.default_rng(seed)
    for key, M in results.items():
        u = rng.standard_normal(M.shape[2:])
        _, moved = derivative(p, d_params={f"{key}_l0": u})
        size = np.abs(M).max() * np.abs(u).sum()
        assert np.abs(np.tensordot(M, u, u.ndim) - moved).max() <= 1e-13 * size


@pytest.mark.claim("B5")
@given(name=names, seed=seeds)
def test_the_steps_make_the_states_of_the_forward_pass(name, seed):
    p = single(name, seed=seed)
    output, final, _ = p.net.forward(p.params, p.x, p.state)
    steps = list(jacobian.linearize_steps(p.net, p.params, p.x, p.state))
    close(np.array([step.after.h for step in steps]), output)
    close(np.hstack(steps[-1].after), concatenate_state(p.net, final))
    from_zero = list(jacobian.linearize_steps(p.net, p.params, p.x, None))
    close(np.array([step.after.h for step in from_zero]), p.net.forward(p.params, p.x)[0])


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble, np.complex128])
@pytest.mark.parametrize("name", sorted(NETS))
def test_the_dtype_is_kept(name, dtype):
    p = single(name)
    params = {key: value.astype(dtype) for key, value in p.params.items()}
    step = next(jacobian.linearize_steps(p.net, params, p.x.astype(dtype), None))
    weights = p.net.cell_params(params, "_l0")
    results = [
        jacobian.jacobian(weights, step),
        *jacobian.parameter_jacobians(weights, step).values(),
    ]
    assert {value.dtype for value in results} == {np.dtype(dtype)}


@pytest.mark.parametrize("options", [{"num_layers": 2}, {"bidirectional": True}])
def test_a_net_whose_step_has_no_single_jacobian_is_rejected(options):
    from reference import GRU

    net = GRU(3, 4, **options)
    params = net.init(np.random.default_rng(0))
    with pytest.raises(ValueError, match="one layer in one direction"):
        next(jacobian.linearize_steps(net, params, np.ones((5, 2, 3)), None))


def test_invalid_arguments_are_rejected_as_by_net_forward_and_packed_input_by_name():
    from reference import RNN, pack_sequence
    from reference.dynamics import products

    net = RNN(3, 4)
    params = net.init(np.random.default_rng(0))
    x = np.ones((5, 2, 3))
    for find in (jacobian.linearize_steps, products.jacobians):
        with pytest.raises(AttributeError, match="should be an array, got list"):
            find(net, params, x.tolist(), None)
        with pytest.raises(TypeError, match="params should be a dict of arrays, got list"):
            find(net, list(params), x, None)
        with pytest.raises(ValueError, match="one layer in one direction .* a PackedSequence"):
            find(net, params, pack_sequence([x[:, 0]]), None)
