"""The norm bounds hold for every net drawn, and each is attained by some net."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import GRU, LSTM, RNN
from reference.activations import sigmoid
from reference.cells import gru, lstm, rnn
from reference.derivatives.jacobian import initial_state, jacobian, linearize, linearize_steps
from reference.dynamics import bounds, products
from support.calculus import rejects
from support.single import NETS, close, single
from support.strategies import seeds

scales = st.sampled_from([0.05, 0.3, 1.0, 3.0, 10.0])
names = st.sampled_from(sorted(NETS))


@pytest.mark.claim("D3")
@given(name=names, scale=scales, seed=seeds)
def test_no_step_of_a_hundred_nets_stretches_beyond_its_bound(name, scale, seed):
    for draw in range(100):
        p = single(name, T=1, seed=seed + draw, scale=scale)
        step = next(linearize_steps(p.net, p.params, p.x, p.state))
        norm = bounds.norm(jacobian(p.weights, step))
        assert np.all(norm <= bounds.step_bound(p.net, p.weights, step) * (1 + 1e-12))


@pytest.mark.claim("D3")
@given(name=names, scale=scales, seed=seeds)
def test_no_path_stretches_beyond_the_product_of_its_step_norms(name, scale, seed):
    """Nor beyond the product of the step bounds, nor γ^(number of steps)."""
    p = single(name, T=5, seed=seed, scale=scale)
    steps = list(linearize_steps(p.net, p.params, p.x, p.state))
    J = np.stack([jacobian(p.weights, step) for step in steps])
    factors, step_bounds = bounds.norm(J), [bounds.step_bound(p.net, p.weights, n) for n in steps]
    for k in range(5):
        path = bounds.norm(products.propagator(J, k, 5)) / (1 + 1e-12)
        assert np.all(path <= factors[k:].prod(axis=0))
        assert np.all(path <= bounds.path_bound(np.stack(step_bounds), k, 5))
        assert np.all(path <= factors.max(axis=0) ** (5 - k))


@pytest.mark.claim("D3")
@given(seed=seeds, gamma=st.sampled_from([0.5, 0.95, 1.3]))
def test_a_tanh_net_at_rest_with_orthogonal_weights_attains_gamma_to_the_distance(seed, gamma):
    Q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((4, 4)))
    net = RNN(3, 4)
    params = {"weight_hh_l0": gamma * Q}
    params |= {k: np.zeros(s) for k, s in net.parameter_shapes().items() if k not in params}
    x = np.zeros((6, 2, 3))
    steps = list(linearize_steps(net, params, x, None))
    weights = rnn.Params(*[params[f"{name}_l0"] for name in rnn.Params._fields])
    bound = np.stack([bounds.step_bound(net, weights, step) for step in steps])
    close(bounds.path_bound(bound, 1, 6), [gamma**5] * 2)
    J = products.jacobians(net, params, x)
    close(bounds.norm(products.propagator(J, 1, 6)), [gamma**5] * 2)


@pytest.mark.claim("D3")
@given(seed=seeds)
def test_an_open_relu_net_attains_its_bound_and_a_shut_one_passes_nothing(seed):
    p = single("relu", T=1, seed=seed)
    for bias, expected in [(100.0, bounds.norm(p.weights.weight_hh)), (-100.0, 0.0)]:
        params = p.params | {"bias_ih_l0": np.full(4, bias)}
        step = next(linearize_steps(p.net, params, p.x, p.state))
        weights = rnn.Params(*[params[f"{k}_l0"] for k in rnn.Params._fields])
        close(bounds.norm(jacobian(weights, step)), [expected] * 2)
        close(bounds.step_bound(p.net, weights, step), [expected] * 2)


@pytest.mark.claim("D3")
@pytest.mark.parametrize(
    ("alpha", "beta", "rho", "nu"), [(0.7, 0.3, 0.9, 1.1), (2.0, 1.5, 0.4, 3.0)]
)
def test_a_gru_with_half_open_gates_attains_its_bound_term_by_term(alpha, beta, rho, nu):
    H, net = 4, GRU(3, 4)
    identity, h = np.eye(H), np.full((1, H), 0.6)
    blocks = [rho * identity, beta * identity, alpha * identity]
    net_from_h = np.concatenate([weight @ h[0] for weight in blocks])
    bias_hh = np.concatenate([np.zeros(2 * H), np.full(H, nu) - alpha * h[0]])  # v_n = ν
    bias_ih = -np.concatenate([net_from_h[: 2 * H], np.full(H, nu / 2)])  # r = z = ½, n = 0
    params = gru.Params(np.zeros((3 * H, 3)), np.concatenate(blocks), bias_ih, bias_hh)
    step = linearize(net, params, np.ones((1, 3)), gru.State(h))
    expected = 0.5 + 0.5 * (0.5 * alpha + nu * rho / 4) + 0.6 * beta / 4
    close(bounds.norm(jacobian(params, step)), [expected])
    close(bounds.step_bound(net, params, step), [expected])


@pytest.mark.claim("D3")
@pytest.mark.parametrize(("p", "gamma"), [(None, 0.8), (None, 3.0), (0.5, 1.7)])
def test_an_lstm_that_meets_an_empty_cell_attains_its_bound(p, gamma):
    H, net = 4, LSTM(3, 4)
    rng = np.random.default_rng(0)
    W = rng.standard_normal((4 * H, H))
    W[2 * H : 3 * H] = gamma * np.eye(H)
    h = rng.standard_normal((1, H))
    a = np.repeat([0.3, 0.9, 0.0, -0.4], H)  # i f g o, and g = tanh(0)
    projection = None if p is None else p * np.eye(H)
    params = lstm.Params(np.zeros((4 * H, 3)), W, a - W @ h[0], np.zeros(4 * H), projection)
    step = linearize(net, params, np.ones((1, 3)), lstm.State(h, np.zeros((1, H))))
    i, f, o = sigmoid(np.array([0.3, 0.9, -0.4]))
    p = p or 1
    blocks = np.array([[p * o * i * gamma, p * o * f], [i * gamma, f]])
    close(bounds.norm(jacobian(params, step)), [np.linalg.norm(blocks, 2)])
    close(bounds.step_bound(net, params, step), [np.linalg.norm(blocks, 2)])


# which gate reads h, the net inputs of i f g o, and c₋; the other gates are shut or at rest
ONE_GATE = {
    "input": (0, [0.0, -1000.0, 1000.0, -1000.0], 0.0),
    "forget": (1, [-1000.0, 0.0, 0.0, -1000.0], 7.0),
    "output": (3, [-1000.0, -12.0, 0.0, 0.0], 1e8),
}


@pytest.mark.claim("D3")
@pytest.mark.parametrize("gate", ONE_GATE)
def test_an_lstm_in_which_only_one_gate_reads_h_attains_its_bound(gate):
    H, net = 4, LSTM(3, 4)
    k, a, c = ONE_GATE[gate]
    W, h = np.zeros((4 * H, H)), np.random.default_rng(0).standard_normal((1, H))
    W[k * H : (k + 1) * H] = 3 * np.eye(H)
    params = lstm.Params(np.zeros((4 * H, 3)), W, np.repeat(a, H) - W @ h[0], np.zeros(4 * H))
    step = linearize(net, params, np.ones((1, 3)), lstm.State(h, np.full((1, H), c)))
    reached = {"input": np.hypot(3 / 4, 0), "forget": np.hypot(3 * 7 / 4, 0.5), "output": 3 / 4}
    close(bounds.norm(jacobian(params, step)), [reached[gate]], tolerance=1e-5)
    close(bounds.step_bound(net, params, step), [reached[gate]], tolerance=1e-5)


@pytest.mark.claim("D3", "D3′")
@given(seed=seeds)
def test_norms_below_one_make_the_gradient_vanish_where_radii_below_one_would_not(seed):
    net = RNN(3, 4)
    params = net.init(np.random.default_rng(seed))
    params["weight_hh_l0"] *= 0.8 / bounds.norm(params["weight_hh_l0"])
    x = np.random.default_rng(seed).standard_normal((60, 2, 3))
    J = products.jacobians(net, params, x)
    assert np.all(bounds.norm(products.propagator(J, 0, 60)) <= 0.8**60)
    assert not initial_state(net, x, None).h.any()


@pytest.mark.parametrize(("k", "t"), [(-1, 1), (2, 1), (0, 4), (4, 4)])
def test_states_outside_the_sequence_are_rejected(k, t):
    message = f"T = 3, got k={k} and t={t}"
    rejects(ValueError, message, bounds.path_bound, np.ones((3, 2)), k, t)
