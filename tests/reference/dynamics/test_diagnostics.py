"""Each symptom, produced on purpose, is reported; a healthy net has no findings."""

import numpy as np
import pytest

from reference import LSTM, RNN
from reference.dynamics import products
from reference.dynamics.diagnostics import diagnose, rate, variation
from reference.nets import initializers
from support.single import close

T = 60


def record(net, params, seed=0):
    """‖∂L/∂h‖ against distance from a loss on the last output, and ‖h_t‖ over time."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((T, 3, net.input_size))
    d_states = np.zeros((T, 3, net.hidden_size * (2 if net.mode == "LSTM" else 1)))
    d_states[-1, :, : net.hidden_size] = rng.standard_normal((3, net.hidden_size))
    delta = products.error_signals(products.jacobians(net, params, x), d_states)
    output, _, tape = net.forward(params, x)
    grads = net.backward(tape, d_states[:, :, : net.hidden_size])
    credit = np.linalg.norm(delta[:0:-1], axis=(1, 2))
    return credit, np.linalg.norm(output, axis=(1, 2)), grads


def rnn(scale, nonlinearity="tanh", bias=0.0):
    """A net with orthogonal recurrent weights, scaled."""
    net, rng = RNN(4, 6, nonlinearity=nonlinearity), np.random.default_rng(3)
    params = initializers.orthogonal_recurrence(net, net.init(rng), rng)
    params["weight_hh_l0"] = scale * params["weight_hh_l0"]
    params["weight_ih_l0"] = 0.01 * params["weight_ih_l0"]
    params["bias_ih_l0"] = bias + 0 * params["bias_ih_l0"]
    params["bias_hh_l0"] = 0 * params["bias_hh_l0"]
    return net, params


def issues(net, params):
    credit, hidden, _ = record(net, params)
    return [finding.issue for finding in diagnose(credit, hidden)]


@pytest.mark.claim("B9")
def test_a_net_whose_gradient_explodes_is_reported():
    """A chaotic tanh net: every state stays within ±1, and the gradient does not."""
    net, rng = RNN(4, 40), np.random.default_rng(0)
    params = net.init(rng) | {"weight_hh_l0": 3 * rng.standard_normal((40, 40)) / 40**0.5}
    assert issues(net, params) == ["exploding gradients"]


@pytest.mark.claim("B9")
def test_a_net_whose_gradient_vanishes_is_reported():
    assert issues(*rnn(0.5)) == ["vanishing credit"]


@pytest.mark.claim("B9")
def test_a_relu_net_whose_state_grows_is_reported_as_an_unstable_recurrence():
    net, params = rnn(1.0, "relu", bias=0.1)
    params["weight_hh_l0"] = np.full((6, 6), 1.3 / 6)
    assert issues(net, params) == ["exploding gradients", "unstable recurrence"]


@pytest.mark.claim("B9")
def test_a_net_whose_gate_biases_shut_the_input_out_is_reported_as_ignoring_its_state():
    net = LSTM(4, 6)
    params = net.init(np.random.default_rng(0))
    params["bias_ih_l0"] = np.repeat([-20.0, 20.0, 0, 20.0], 6)  # i shut, f and o open
    params["weight_hh_l0"] *= 0
    rng = np.random.default_rng(1)
    x, c_0 = rng.standard_normal((T, 3, 4)), rng.standard_normal((1, 3, 6))
    output, _, _ = net.forward(params, x, (0 * c_0, c_0))
    hidden = np.linalg.norm(output, axis=(1, 2))
    assert [f.issue for f in diagnose(np.ones(T), hidden)] == ["state ignored"]


@pytest.mark.claim("B9")
def test_a_constant_norm_does_not_prove_that_the_state_is_constant():
    """(4) is a hint: here the state is the input itself, and its norm is constant."""
    net = RNN(6, 6, bias=False)
    params = {"weight_ih_l0": 10 * np.eye(6), "weight_hh_l0": np.zeros((6, 6))}
    x = np.random.default_rng(0).choice([-1.0, 1.0], (T, 3, 6))
    output, _, _ = net.forward(params, x)
    assert np.array_equal(output.round(), x)
    (finding,) = diagnose(np.ones(T), np.linalg.norm(output, axis=(1, 2)))
    assert finding.issue == "state ignored" and finding.remedy.startswith("check that h itself")


@pytest.mark.claim("B9")
def test_a_healthy_net_has_no_findings():
    net, params = rnn(1.0)
    assert issues(net, params) == []
    lstm = LSTM(4, 6)
    params = initializers.forget_bias(lstm, lstm.init(np.random.default_rng(0)), 4.0)
    assert issues(lstm, params) == []


@pytest.mark.claim("B9")
def test_the_norm_of_the_parameters_gradient_does_not_show_that_credit_vanishes():
    credit, _, grads = record(*rnn(0.5))
    whole = np.sqrt(sum((g**2).sum() for g in grads.params.values()))
    assert credit[-1] < 1e-15 * credit[0], "no credit arrives from distant steps"
    assert whole > 0.1 * credit[0], "but the global norm does not show it"


@pytest.mark.claim("B9")
def test_norms_that_are_not_numbers_count_as_exploded():
    broken = np.array([1.0, np.inf, np.nan])
    results = [f.issue for f in diagnose(broken, broken)]
    assert results == ["exploding gradients", "unstable recurrence"]


@pytest.mark.claim("B9")
@pytest.mark.parametrize("spike", [1e20, np.inf, np.nan])
def test_a_spike_counts_as_growth_at_every_position(spike):
    for at in range(1, 9):
        norms = np.arange(1.0, 10)
        norms[at] = spike
        results = [f.issue for f in diagnose(norms, norms)]
        assert results == ["exploding gradients", "unstable recurrence"]


@pytest.mark.claim("B9")
def test_zeros_within_and_before_the_record_are_skipped():
    for norms in (4.0 ** np.arange(9), 0.25 ** np.arange(9)):
        expected = diagnose(norms, np.arange(1.0, 10))
        assert len(expected) == 1
        for zeros in ([4], [0, 1], [0, 3, 7]):
            gappy = norms.copy()
            gappy[zeros] = 0
            actual = diagnose(gappy, np.arange(1.0, 10))
            assert [f.issue for f in actual] == [expected[0].issue]
            close(rate(gappy), rate(norms))
            assert "nan" not in actual[0].evidence


@pytest.mark.claim("B9")
def test_a_dead_state_and_zero_credit_are_not_reported_as_growth():
    zeros = diagnose(np.zeros(6), np.zeros(6))
    assert [f.issue for f in zeros] == ["vanishing credit", "state ignored"]
    assert not any("nan" in f.evidence for f in zeros)
    lost = diagnose(np.array([1.0, 0.5, 0, 0, 0]), np.arange(1.0, 6))
    assert [f.issue for f in lost] == ["vanishing credit"]
    assert "nan" not in lost[0].evidence


def test_the_rate_is_the_factor_per_step():
    close(rate(3.0 * 0.8 ** np.arange(9)), 0.8)
    close(variation(np.array([9.0, 1.0, 4.0, 6.0])), 0.4)
    assert variation(np.zeros(4)) == 0


@pytest.mark.claim("B9")
def test_every_finding_has_a_number_and_a_remedy():
    finding = diagnose(0.5 ** np.arange(T), np.arange(1.0, T + 1))[0]
    assert "0.5 per step" in finding.evidence
    assert "gated cell" in finding.remedy


def test_credit_that_underflows_is_reported_with_the_distance_at_which_it_is_zero():
    credit = np.array([1.0, 1e-3, 0.0, 1e-6, 0.0, 0.0])
    (finding,) = diagnose(credit, np.linspace(1, 2, 6))
    assert finding.issue == "vanishing credit"
    assert finding.evidence == "‖∂L/∂h‖ is 0 from 4 steps of distance on"
