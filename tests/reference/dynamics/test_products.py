"""Products of Jacobians through time: in the correct order, they are backpropagation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference.dynamics import products
from support.calculus import rejects
from support.single import NETS, close, concatenate_state, derivative, single
from support.strategies import seeds

names = st.sampled_from(sorted(NETS))


def cotangents(p):
    """ȳ [T, B, S]: that of the output at every step, and that of the final state at the last."""
    last = concatenate_state(p.net, p.d_state)
    results = np.zeros((*p.d_output.shape[:2], last.shape[1]))
    results[:, :, : p.d_output.shape[2]] = p.d_output
    results[-1] += last
    return results


@pytest.mark.claim("B5")
@given(name=names, seed=seeds, k=st.integers(0, 6))
def test_the_products_summed_over_all_paths_are_the_recursion(name, seed, k):
    p = single(name, seed=seed)
    J, d_states = products.jacobians(p.net, p.params, p.x, p.state), cotangents(p)
    delta = products.error_signals(J, d_states)
    close(products.credit_by_products(J, d_states, k), delta[k])


@pytest.mark.claim("B5", "B4")
@given(name=names, seed=seeds)
def test_the_recursion_by_explicit_jacobians_is_backpropagation_through_time(name, seed):
    p = single(name, seed=seed)
    J = products.jacobians(p.net, p.params, p.x, p.state)
    _, _, tape = p.net.forward(p.params, p.x, p.state)
    grads = p.net.backward(tape, p.d_output, p.d_state)
    close(products.error_signals(J, cotangents(p))[0], concatenate_state(p.net, grads.state))


@pytest.mark.claim("B5")
@given(name=st.sampled_from(["tanh", "GRU", "LSTM"]), seed=seeds)
def test_the_product_in_the_wrong_order_is_another_matrix(name, seed):
    p = single(name, seed=seed, T=3)
    J = products.jacobians(p.net, p.params, p.x, p.state)
    right, wrong = products.propagator(J, 0, 3), J[0] @ J[1] @ J[2]
    assert np.abs(right - wrong).max() > 1e-6 * np.abs(right).max()


@pytest.mark.claim("B5")
@given(name=names, seed=seeds)
def test_a_propagator_is_how_a_nudge_of_one_state_arrives_at_another(name, seed):
    p = single(name, seed=seed)
    J = products.jacobians(p.net, p.params, p.x, p.state)
    assert np.array_equal(products.propagator(J, 2, 2)[0], np.eye(J.shape[-1]))
    fields = p.state if p.net.mode == "LSTM" else (p.state,)
    rng = np.random.default_rng(seed)
    u = [rng.standard_normal(f.shape) for f in fields]
    _, moved = derivative(p._replace(x=p.x[:4]), d_state=u)
    direction = np.concatenate([d[0] for d in u], axis=1)
    pushed = (products.propagator(J, 0, 4) @ direction[:, :, None])[:, :, 0]
    size = np.abs(J).max() ** 4 * np.abs(direction).max()
    assert np.abs(pushed - moved).max() <= 1e-12 * size


@pytest.mark.claim("B4")
@given(name=st.sampled_from(["tanh", "relu", "GRU", "LSTM", "projected LSTM"]), seed=seeds)
def test_every_delta_of_the_recursion_is_torch_s_gradient_at_that_node(name, seed):
    p = single(name, B=1, seed=seed)
    nodes = torch_nodes(p)
    loss = sum(
        (torch.tensor(d) * states[0]).sum()
        for d, states in zip(p.d_output, nodes["states"], strict=True)
    )
    d_last = p.d_state if p.net.mode == "LSTM" else (p.d_state,)
    loss = loss + sum(
        (torch.tensor(d[0]) * s).sum() for d, s in zip(d_last, nodes["states"][-1], strict=True)
    )
    for kind, steps in deltas(p).items():
        for actual, at_step in zip(steps, nodes[kind], strict=True):
            expected = torch.autograd.grad(loss, at_step, retain_graph=True)
            for delta, g in zip(actual, expected, strict=True):
                close(delta, g)


def deltas(p):
    """δ of the state after every step, and of every step's net inputs, for a batch of one.

    Backpropagation over the steps after t ends in δ of the state after step t. From there,
    over step t only, it gives the biases the gradient that is δ of the step's net inputs.
    """
    entered = [p.state]
    for x_t in p.x:
        entered.append(p.net.forward(p.params, x_t[None], entered[-1])[1])
    states, net_inputs = [], []
    for t in range(len(p.x)):
        d_after = p.d_state
        if t + 1 < len(p.x):
            _, _, tape = p.net.forward(p.params, p.x[t + 1 :], entered[t + 1])
            d_after = p.net.backward(tape, p.d_output[t + 1 :], p.d_state).state
        _, _, tape = p.net.forward(p.params, p.x[t : t + 1], entered[t])
        grads = p.net.backward(tape, p.d_output[t : t + 1], d_after).params
        delta_u, delta_v = grads["bias_ih_l0"][None], grads["bias_hh_l0"][None]
        net_inputs.append([delta_u[:, -4:], delta_v] if p.net.mode == "GRU" else [delta_u])
        h, *c = d_after if p.net.mode == "LSTM" else (d_after,)
        states.append([h[0] + p.d_output[t], *[field[0] for field in c]])  # h_t is an output too
    return {"states": states, "net inputs": net_inputs}


def torch_nodes(p):
    """The states after every step, and the net inputs, as nodes of one graph of torch.

    The state is the one passed to the next step: δc of the recursion does not contain the path
    through the h of its own step, so that path has a separate node for c.
    """
    w = {key.removesuffix("_l0"): torch.tensor(value) for key, value in p.params.items()}
    fields = p.state if p.net.mode == "LSTM" else (p.state,)
    state = [torch.tensor(f[0], requires_grad=True) for f in fields]
    states, net_inputs = [], []
    for x in torch.tensor(p.x, requires_grad=True):
        u = torch.nn.functional.linear(x, w["weight_ih"], w.get("bias_ih"))
        v = torch.nn.functional.linear(state[0], w["weight_hh"], w.get("bias_hh"))
        if p.net.mode == "GRU":
            u_n = u[:, -4:].clone()
            (v_r, v_z, v_n), (u_r, u_z, _) = v.chunk(3, 1), u.chunk(3, 1)
            r, z = torch.sigmoid(u_r + v_r), torch.sigmoid(u_z + v_z)
            n = torch.tanh(u_n + r * v_n)
            state, at_step = [(1 - z) * n + z * state[0]], [u_n, v]
        elif p.net.mode == "LSTM":
            a = u + v
            i, f, g, o = a.chunk(4, 1)
            c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
            m = torch.sigmoid(o) * torch.tanh(c)
            h = m @ w["weight_hr"].T if "weight_hr" in w else m
            state, at_step = [h, c.clone()], [a]
        else:
            a = u + v
            state, at_step = [torch.tanh(a) if p.net.nonlinearity == "tanh" else torch.relu(a)], [a]
        states.append(state)
        net_inputs.append(at_step)
    return {"states": states, "net inputs": net_inputs}


@pytest.mark.claim("D3′")
def test_spectral_radii_below_one_do_not_bound_the_product():
    first, second = np.array([[0.0, 0], [2, 0]]), np.array([[0.0, 2], [0, 0]])
    assert max(abs(np.linalg.eigvals(first))) == max(abs(np.linalg.eigvals(second))) == 0
    assert max(abs(np.linalg.eigvals(second @ first))) == 4
    J = np.stack([first, second] * 5)[:, None]
    assert np.linalg.norm(products.propagator(J, 0, 10)[0], 2) == 4.0**5


@pytest.mark.claim("D3′")
def test_spectral_radii_above_one_do_not_make_the_product_large():
    first, second = np.diag([2.0, 0]), np.diag([0, 2.0])
    J = np.stack([first, second])[:, None]
    assert not products.propagator(J, 0, 2).any()


@pytest.mark.claim("D3′")
def test_a_relu_net_has_jacobians_of_radius_zero_and_a_gradient_that_explodes():
    """The counterexample inside a net: its inputs open one unit at a time."""
    from reference import RNN

    net = RNN(2, 2, nonlinearity="relu", bias=False)
    params = {"weight_ih_l0": 64 * np.eye(2), "weight_hh_l0": np.array([[0.0, 2], [2, 0]])}
    t = np.arange(10)
    gate = np.where((t % 2)[:, None] == [1, 0], 1.0, -(4.0 ** t[:, None]))[:, None]
    J = products.jacobians(net, params, gate, np.array([[[1.0, 0.5]]]))
    assert np.abs(np.linalg.eigvals(J)).max() == 0
    assert np.linalg.norm(products.propagator(J, 0, 10)[0], 2) == 2.0**10


@pytest.mark.parametrize(("k", "t"), [(-1, 1), (2, 1), (0, 4), (4, 4)])
def test_states_outside_the_sequence_are_rejected(k, t):
    J = np.zeros((3, 2, 4, 4))
    rejects(ValueError, f"T = 3, got k={k} and t={t}", products.propagator, J, k, t)


@pytest.mark.parametrize("k", [-1, 4])
def test_credit_for_a_state_outside_the_sequence_is_rejected(k):
    J = np.zeros((3, 2, 4, 4))
    rejects(ValueError, f"T = 3, got k={k}", products.credit_by_products, J, J[..., 0], k)


def test_every_propagator_is_an_array_of_its_own():
    J = np.ones((3, 2, 4, 4))
    assert all(products.propagator(J, 1, t).flags.writeable for t in (1, 2))
