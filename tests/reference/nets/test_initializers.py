"""Orthogonal weights keep the norm only of linear nets; the forget bias is a sum of two."""

import numpy as np
import pytest
import torch
from hypothesis import given

from reference import GRU, LSTM, RNN
from reference.dynamics import bounds, linear_rnn, memory, products
from reference.nets import initializers
from support.problems import torch_module
from support.single import close
from support.strategies import seeds, sizes
from torch_impl.nets import initializers as torch_initializers


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


@pytest.mark.claim("D4")
@given(seed=seeds, H=sizes)
def test_the_drawn_matrix_is_orthogonal(seed, H):
    Q = initializers.orthogonal(np.random.default_rng(seed), H)
    close(Q.T @ Q, np.eye(H), tolerance=1e-14)


@pytest.mark.claim("D4")
def test_the_draw_prefers_no_direction():
    rng = np.random.default_rng(0)
    drawn = np.array([initializers.orthogonal(rng, 2) for _ in range(4000)])
    angles = np.arctan2(drawn[:, 1, 0], drawn[:, 0, 0])
    assert abs(np.exp(1j * angles).mean()) < 0.05
    assert abs(np.exp(2j * angles).mean()) < 0.05
    assert abs(np.linalg.det(drawn).mean()) < 0.05


@pytest.mark.claim("D4")
@given(seed=seeds)
def test_every_gate_of_every_layer_and_direction_starts_orthogonal(seed):
    rng = np.random.default_rng(seed)
    net = GRU(3, 4, num_layers=2, bidirectional=True)
    before = net.init(rng)
    after = initializers.orthogonal_recurrence(net, before, rng)
    for name, value in after.items():
        if name.startswith("weight_hh"):
            for block in np.split(value, 3):
                close(block.T @ block, np.eye(4), tolerance=1e-14)
        else:
            assert value is before[name]


@pytest.mark.claim("D4")
@given(seed=seeds)
def test_an_orthogonal_linear_net_keeps_every_norm_however_long(seed):
    rng = np.random.default_rng(seed)
    A = initializers.orthogonal(rng, 5)
    params = linear_rnn.Params(A, rng.standard_normal((5, 3)))
    h_0 = rng.standard_normal((2, 5))
    h, tape = linear_rnn.unroll(params, np.zeros((1000, 2, 3)), h_0)
    close(np.linalg.norm(h[-1], axis=1), np.linalg.norm(h_0, axis=1))
    d_h = np.zeros_like(h)
    d_h[-1] = rng.standard_normal((2, 5))
    grads = linear_rnn.unroll_back(tape, d_h)
    close(np.linalg.norm(grads.h_0, axis=1), np.linalg.norm(d_h[-1], axis=1))


@pytest.mark.claim("D4")
@given(seed=seeds)
def test_with_tanh_the_gradient_vanishes_all_the_same(seed):
    net, rng = RNN(3, 5), np.random.default_rng(seed)
    params = initializers.orthogonal_recurrence(net, net.init(rng), rng)
    x = rng.standard_normal((100, 2, 3))
    close(bounds.norm(params["weight_hh_l0"]), 1.0, tolerance=1e-14)
    J = products.jacobians(net, params, x)
    reach = bounds.norm(products.propagator(J, 0, 100))
    assert np.all(reach < 0.1), "one step bent it a little, a hundred bent it away"


@pytest.mark.claim("D7")
@given(seed=seeds)
def test_the_forget_gate_starts_at_sigma_of_the_sum_of_both_biases(seed):
    net = LSTM(3, 4, num_layers=2, bidirectional=True)
    params = initializers.forget_bias(net, net.init(np.random.default_rng(seed)), 1.0)
    for suffix in ["_l0", "_l0_reverse", "_l1", "_l1_reverse"]:
        total = params[f"bias_ih{suffix}"] + params[f"bias_hh{suffix}"]
        assert np.array_equal(total[4:8], np.ones(4))
    single = LSTM(3, 4)
    params = initializers.forget_bias(single, single.init(np.random.default_rng(seed)), 1.0)
    f = memory.forget_gates(single, params, np.zeros((1, 2, 3)))
    close(f[0], np.full((2, 4), 0.7310585786300049), tolerance=1e-15)


@pytest.mark.claim("D7")
def test_setting_both_biases_to_one_gives_a_forget_bias_of_two():
    module = torch.nn.LSTM(3, 4).double()
    with torch.no_grad():
        module.bias_ih_l0[4:8] = 1
        module.bias_hh_l0[4:8] = 1
        module.weight_ih_l0.zero_()
        module.bias_ih_l0[:4] = module.bias_hh_l0[:4] = -1000  # the input gate is shut
    c_0 = torch.full((1, 1, 4), 0.5, dtype=torch.float64)
    _, (_, c) = module(torch.ones(1, 1, 3).double(), (torch.zeros_like(c_0), c_0))
    close(c.detach().numpy() / 0.5, np.full((1, 1, 4), sigmoid(2)), tolerance=1e-15)
    assert round(sigmoid(2), 3) == 0.881


@pytest.mark.claim("D7", "D8")
@pytest.mark.parametrize("b", [0.0, 1.0, 3.0])
def test_a_larger_forget_bias_is_a_longer_memory(b):
    net = LSTM(3, 4)
    params = {name: np.zeros(shape) for name, shape in net.parameter_shapes().items()}
    params = initializers.forget_bias(net, params, b)
    c_0 = np.random.default_rng(0).standard_normal((1, 2, 4))
    _, (_, c), _ = net.forward(params, np.zeros((10, 2, 3)), (0 * c_0, c_0))
    tau = memory.memory_time(sigmoid(b))
    close(c, c_0 * np.exp(-10 / tau))


@pytest.mark.claim("D4", "D7")
def test_torch_s_module_takes_the_same_start():
    module = torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True)
    torch_initializers.forget_bias(module, 1.0)
    torch_initializers.orthogonal_recurrence(module)
    for name, value in module.named_parameters():
        if name.startswith("weight_hh"):
            for block in value.detach().double().numpy().reshape(4, 4, 4):
                close(block.T @ block, np.eye(4), tolerance=1e-6)
        if name.startswith("bias_ih"):
            total = value + getattr(module, name.replace("ih", "hh"))
            assert total[4:8].tolist() == [1, 1, 1, 1]
    net = LSTM(3, 4, num_layers=2, bidirectional=True)
    assert [n for n, _ in torch_module(net).named_parameters()] == list(net.parameter_shapes())


def test_nets_without_square_blocks_or_forget_biases_are_rejected():
    rng = np.random.default_rng(0)
    projected, gru = LSTM(3, 4, proj_size=2), GRU(3, 4)
    with pytest.raises(ValueError, match="square"):
        initializers.orthogonal_recurrence(projected, projected.init(rng), rng)
    with pytest.raises(ValueError, match="forget gates"):
        initializers.forget_bias(gru, gru.init(rng), 1.0)


def test_an_orthogonal_start_has_the_dtype_of_the_parameters():
    net, rng = GRU(3, 4), np.random.default_rng(0)
    params = {name: p.astype(np.float32) for name, p in net.init(rng).items()}
    found = initializers.orthogonal_recurrence(net, params, rng)
    assert {p.dtype for p in found.values()} == {np.dtype(np.float32)}
