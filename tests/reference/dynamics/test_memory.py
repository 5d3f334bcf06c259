"""The memory of an LSTM cell: the forget gates only, and the full derivative."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import LSTM
from reference.dynamics import memory, products
from support.calculus import rejects
from support.problems import torch_module
from support.single import close, single
from support.strategies import seeds


def blind(p):
    """The same problem, with gates that do not read h."""
    zero = np.zeros_like(p.params["weight_hh_l0"])
    return p._replace(params=p.params | {"weight_hh_l0": zero})


def both_derivatives(p, k=1, t=5):
    """∂c_t/∂c_k by the forget gates only, as a matrix, and in full."""
    f = memory.forget_gates(p.net, p.params, p.x, p.state)
    J = products.jacobians(p.net, p.params, p.x, p.state)
    partial = np.stack([np.diag(row) for row in memory.forget_path(f, k, t)])
    return partial, memory.cell_jacobian(J, p.net.hidden_size, k, t)


@pytest.mark.claim("D6")
@given(seed=seeds)
def test_where_the_gates_do_not_see_h_the_product_of_forget_gates_is_the_derivative(seed):
    partial, full = both_derivatives(blind(single("LSTM", seed=seed)))
    close(full, partial, tolerance=1e-15)


@pytest.mark.claim("D6")
@given(seed=seeds)
def test_where_they_do_the_product_of_forget_gates_is_not_the_derivative(seed):
    partial, full = both_derivatives(single("LSTM", seed=seed))
    assert np.abs(full - partial).max() > 1e-6


@pytest.mark.claim("D6")
@given(seed=seeds)
def test_the_full_derivative_is_torch_s(seed):
    p = single("LSTM", seed=seed)
    module = torch_module(p.net)
    with torch.no_grad():
        for name, value in module.named_parameters():
            value.copy_(torch.tensor(p.params[name]))
    _, (h, c) = module(torch.tensor(p.x[:1]), tuple(map(torch.tensor, p.state)))
    x = torch.tensor(p.x[1:5])
    full = torch.autograd.functional.jacobian(lambda c: module(x, (h.detach(), c))[1][1], c)
    expected = np.stack([full[0, row, :, 0, row] for row in range(2)])
    close(both_derivatives(p)[1], expected)


@pytest.mark.claim("D6")
@given(seed=seeds)
def test_forget_gates_at_one_and_input_gates_at_zero_carry_the_cell_unchanged(
    seed,
):
    """The derivative is then the identity, too."""
    p = single("LSTM", T=40, seed=seed)
    bias = p.params["bias_ih_l0"].copy()
    bias[:4], bias[4:8] = -1000, 1000  # σ is 1 to the last bit only there: by saturation
    p = p._replace(params=p.params | {"bias_ih_l0": bias})
    partial, full = both_derivatives(p, 0, 40)
    assert np.array_equal(partial, np.broadcast_to(np.eye(4), (2, 4, 4)))
    close(full, partial, tolerance=1e-15)
    _, (_, c_n), _ = p.net.forward(p.params, p.x, p.state)
    close(c_n, p.state[1], tolerance=1e-15)


@pytest.mark.claim("D6")
@pytest.mark.parametrize("f", [0.9, 0.99, 0.999])
def test_forget_gates_near_one_are_not_the_identity(f):
    p = blind(single("LSTM", T=40))
    params = {name: np.zeros_like(value) for name, value in p.params.items()}
    params["bias_ih_l0"][4:8] = np.log(f / (1 - f))
    _, full = both_derivatives(p._replace(params=params), 0, 40)
    close(np.diagonal(full, axis1=1, axis2=2), np.full((2, 4), f**40))


@pytest.mark.claim("D8")
@pytest.mark.parametrize(("f", "tau"), [(0.9, 9.4912), (0.99, 99.4992), (0.5, 1.4427)])
def test_the_memory_time_is_the_decay_of_an_impulse(f, tau):
    net, T = LSTM(1, 1), 200
    params = {name: np.zeros(shape) for name, shape in net.parameter_shapes().items()}
    params["weight_ih_l0"][2] = 5.0  # only the candidate reads x
    params["bias_ih_l0"][1] = np.log(f / (1 - f))
    x = np.zeros((T, 1, 1))
    x[0] = 1.0
    state, c = None, []
    for x_t in x:
        _, state, _ = net.forward(params, x_t[None], state)
        c.append(state[1].item())
    slope = np.polyfit(np.arange(T), np.log(c), 1)[0]
    assert c[0] > 0.4
    assert abs(-1 / slope - memory.memory_time(f)) < 1e-9 * tau
    assert abs(memory.memory_time(f) - tau) < 1e-4 * tau
    assert abs(f ** memory.memory_time(f) - np.exp(-1)) < 1e-15


@pytest.mark.claim("D8")
@given(f=st.floats(0.01, 0.999))
def test_after_tau_steps_one_part_in_e_is_left(f):
    assert abs(f ** memory.memory_time(f) * np.e - 1) < 1e-12


@pytest.mark.claim("D8")
def test_a_shut_gate_remembers_nothing_and_a_saturated_one_forever():
    close(memory.memory_time(np.array([0.0, np.exp(-1)])), [0, 1])
    assert memory.memory_time(np.float64(1)) == np.inf


@pytest.mark.parametrize(("k", "t"), [(-1, 1), (2, 1), (0, 4), (4, 4)])
def test_states_outside_the_sequence_are_rejected(k, t):
    J, message = np.zeros((3, 2, 8, 8)), f"T = 3, got k={k} and t={t}"
    rejects(ValueError, message, memory.forget_path, J[..., 0], k, t)
    rejects(ValueError, message, memory.cell_jacobian, J, 4, k, t)


@pytest.mark.parametrize("name", ["GRU", "tanh"])
def test_a_net_without_forget_gates_is_rejected(name):
    p = single(name)
    message = "Expected an LSTM, because only it has forget gates"
    rejects(ValueError, message, memory.forget_gates, p.net, p.params, p.x, p.state)


def test_parameters_that_are_not_a_dict_are_rejected_as_by_the_net():
    p = single("LSTM")
    message = "params should be a dict of arrays, got list"
    rejects(TypeError, message, memory.forget_gates, p.net, list(p.params), p.x)
