"""Unbiased online recurrent optimisation: averaged over every draw of its signs, it is BPTT."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import GRU, LSTM, RNN
from reference.derivatives import uoro
from support.single import close, single
from support.strategies import seeds

# S·T signs are drawn in each run, so 2^(S·T) runs are all there are
ENUMERABLE = {
    "tanh": (RNN(3, 2), 5),
    "relu": (RNN(3, 2, nonlinearity="relu"), 5),
    "GRU": (GRU(1, 2), 5),
    "LSTM": (LSTM(3, 1), 5),
    "projected LSTM": (LSTM(2, 2, proj_size=1), 3),
}


def every_sign(T, S):
    """[T, 2^(T·S), S]: every choice of T·S signs, one for each row of a batch."""
    bits = np.arange(2 ** (T * S))[:, None] >> np.arange(T * S) & 1
    return np.moveaxis((2.0 * bits - 1).reshape(-1, T, S), 0, 1)


def bptt(p):
    _, _, tape = p.net.forward(p.params, p.x, p.state)
    return p.net.backward(tape, p.d_output).params


def repeated(p, copies):
    """The one sequence of p in as many rows."""
    state = p.state if p.net.mode == "LSTM" else (p.state,)
    state = tuple(np.repeat(s, copies, axis=1) for s in state)
    return p._replace(
        x=np.repeat(p.x, copies, axis=1),
        d_output=np.repeat(p.d_output, copies, axis=1),
        state=state if p.net.mode == "LSTM" else state[0],
    )


@pytest.mark.claim("X3")
@given(name=st.sampled_from(sorted(ENUMERABLE)), seed=seeds)
def test_the_mean_over_all_signs_is_the_gradient(name, seed):
    net, T = ENUMERABLE[name]
    p = single(net, T=T, B=1, seed=seed)
    width = p.d_output.shape[2] + (net.hidden_size if net.mode == "LSTM" else 0)
    signs = every_sign(T, width)
    many = repeated(p, signs.shape[1])
    results = uoro.uoro(net, p.params, many.x, many.d_output, signs, many.state)
    for key, value in bptt(p).items():
        close(results[key] / signs.shape[1], value)


@pytest.mark.claim("X3")
@pytest.mark.parametrize("name", sorted(ENUMERABLE))
def test_a_single_estimate_is_not_the_gradient(name):
    net, T = ENUMERABLE[name]
    p = single(net, T=T, B=1, seed=4)
    width = p.d_output.shape[2] + (net.hidden_size if net.mode == "LSTM" else 0)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (T, 1, width))
    results = uoro.uoro(net, p.params, p.x, p.d_output, signs, p.state)
    assert any(np.abs(results[k] - v).max() > 0.1 * np.abs(v).max() for k, v in bptt(p).items())


@pytest.mark.claim("X3")
def test_the_estimates_of_a_batch_add_up():
    net = GRU(3, 2)
    p = single(net, T=4, B=2)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (4, 2, 2))
    together = uoro.uoro(net, p.params, p.x, p.d_output, signs, p.state)
    rows = [
        uoro.uoro(net, p.params, p.x[:, b], p.d_output[:, b], signs[:, b], p.state[:, b])
        for b in (slice(0, 1), slice(1, 2))
    ]
    for key, value in together.items():
        close(rows[0][key] + rows[1][key], value)


@pytest.mark.claim("X3")
def test_balancing_makes_the_estimate_less_noisy():
    net = RNN(3, 2)
    p = single(net, T=5, B=1, seed=1, scale=0.4)
    signs = every_sign(5, 2)
    many = repeated(p, signs.shape[1])
    spread = []
    for balanced in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not balanced:
                patch.setattr(uoro, "balance", lambda theta, s: np.ones(len(s)))
            estimates = [
                uoro.uoro(net, p.params, p.x, p.d_output, signs[:, k : k + 1], p.state)
                for k in range(0, signs.shape[1], 8)
            ]
        flat = np.array([np.concatenate([v.ravel() for v in e.values()]) for e in estimates])
        spread.append(flat.var(axis=0).sum())
    assert many.x.shape[1] == 1024
    assert spread[0] < spread[1]


@pytest.mark.claim("X3")
def test_balancing_makes_both_factors_equally_long_and_leaves_a_vanishing_one_alone():
    rng = np.random.default_rng(0)
    theta = {"a": rng.standard_normal((3, 4, 5)), "b": rng.standard_normal((3, 4))}
    s = 100 * rng.standard_normal((3, 2))
    s[2] = 0
    rho = uoro.balance(theta, s)
    shrunk = [uoro.divide(v, rho).reshape(3, -1) for v in theta.values()]
    length = np.linalg.norm(np.hstack(shrunk), axis=1)
    close(np.linalg.norm(rho[:, None] * s, axis=1)[:2], length[:2])
    assert rho[2] == 1


@pytest.mark.parametrize("name", sorted(ENUMERABLE))
def test_cotangents_and_signs_of_another_shape_or_dtype_are_rejected(name):
    net, T = ENUMERABLE[name]
    p = single(net, T=T, B=2)
    width = p.d_output.shape[2] + (net.hidden_size if net.mode == "LSTM" else 0)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (T, 2, width))
    for d_output in (p.d_output[:, :1], p.d_output.astype("f")):
        with pytest.raises(RuntimeError, match="d_output"):
            uoro.uoro(net, p.params, p.x, d_output, signs, p.state)
    invalid = [
        (0 * signs, ValueError),
        (signs * 1.5, ValueError),
        (signs.astype(int), RuntimeError),
        (signs[:, :1], RuntimeError),
        (signs[..., :-1], RuntimeError),
        (signs.tolist(), TypeError),
    ]
    for wrong, error in invalid:
        with pytest.raises(error, match="signs"):
            uoro.uoro(net, p.params, p.x, p.d_output, wrong, p.state)


@pytest.mark.parametrize("name", sorted(ENUMERABLE))
def test_a_batch_of_no_rows_has_estimates_of_zeros(name):
    net, T = ENUMERABLE[name]
    p = single(net, T=T, B=0)
    width = p.d_output.shape[2] + (net.hidden_size if net.mode == "LSTM" else 0)
    results = uoro.uoro(net, p.params, p.x, p.d_output, np.ones((T, 0, width)), p.state)
    assert {key: value.shape for key, value in results.items()} == net.parameter_shapes()
    assert not any(value.any() for value in results.values())
