"""Real-time recurrent learning: the gradient of BPTT, carried forward."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.derivatives import rtrl
from support.single import NETS, close, single
from support.strategies import seeds

names = st.sampled_from(sorted(NETS))


def by_bptt(p, d_output, d_state=None):
    _, _, tape = p.net.forward(p.params, p.x, p.state)
    return p.net.backward(tape, d_output, d_state).params


@pytest.mark.claim("X1")
@given(name=names, seed=seeds, T=st.integers(1, 8))
def test_rtrl_is_bptt(name, seed, T):
    p = single(name, T=T, seed=seed)
    actual = rtrl.rtrl(p.net, p.params, p.x, p.d_output, p.d_state, p.state)
    expected = by_bptt(p, p.d_output, p.d_state)
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        close(actual[key], value)


@pytest.mark.claim("X1")
@given(name=names, seed=seeds)
def test_a_loss_at_one_step_needs_nothing_from_later_steps(name, seed):
    p = single(name, seed=seed)
    d_output = np.zeros_like(p.d_output)
    d_output[2] = p.d_output[2]
    early = rtrl.rtrl(p.net, p.params, p.x[:3], d_output[:3], None, p.state)
    for key, value in by_bptt(p, d_output).items():
        close(early[key], value)


@pytest.mark.claim("X1")
@pytest.mark.parametrize("name", sorted(NETS))
def test_without_a_state_it_starts_from_zero(name):
    p = single(name)
    _, _, tape = p.net.forward(p.params, p.x)
    expected = p.net.backward(tape, p.d_output).params
    for key, value in rtrl.rtrl(p.net, p.params, p.x, p.d_output).items():
        close(value, expected[key])


@pytest.mark.claim("X1")
@pytest.mark.parametrize("name", ["LSTM", "projected LSTM"])
def test_either_half_of_an_lstms_cotangent_may_be_none(name):
    p = single(name)
    d_h, d_c = p.d_state
    for d_state in ((d_h, None), (None, d_c), (None, None)):
        results = rtrl.rtrl(p.net, p.params, p.x, p.d_output, d_state, p.state)
        for key, value in by_bptt(p, p.d_output, d_state).items():
            close(results[key], value)


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble, np.complex128])
@pytest.mark.parametrize("name", sorted(NETS))
def test_the_dtype_is_kept(name, dtype):
    p = single(name)
    params = {key: value.astype(dtype) for key, value in p.params.items()}
    results = rtrl.rtrl(p.net, params, p.x.astype(dtype), p.d_output.astype(dtype))
    assert {value.dtype for value in results.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize("name", sorted(NETS))
def test_a_cotangent_unlike_its_output_or_state_is_rejected(name):
    p = single(name)
    for wrong in (p.d_output[:, :, :1], p.d_output[:, :1], p.d_output.astype("f")):
        with pytest.raises(RuntimeError, match="d_output"):
            rtrl.rtrl(p.net, p.params, p.x, wrong, p.d_state, p.state)
    with pytest.raises(TypeError, match="d_output should be an array"):
        rtrl.rtrl(p.net, p.params, p.x, None, p.d_state, p.state)
    fields = p.d_state if p.net.mode == "LSTM" else (p.d_state,)
    for change in (lambda d: d[:, :1], lambda d: d[..., :1], lambda d: d.astype("f")):
        wrong = tuple(map(change, fields))
        with pytest.raises(RuntimeError, match="d_h_n"):
            d_state = wrong if p.net.mode == "LSTM" else wrong[0]
            rtrl.rtrl(p.net, p.params, p.x, p.d_output, d_state, p.state)


@pytest.mark.parametrize("name", sorted(NETS))
def test_a_batch_of_no_rows_has_gradients_of_zeros(name):
    p = single(name)
    empty = rtrl.rtrl(p.net, p.params, p.x[:, :0], p.d_output[:, :0])
    assert {key: value.shape for key, value in empty.items()} == p.net.parameter_shapes()
    assert not any(value.any() for value in empty.values())
