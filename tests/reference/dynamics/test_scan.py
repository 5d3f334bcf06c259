"""The parallel prefix scan: the loop's result, in a logarithmic number of rounds."""

from math import ceil, log2

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference.cells.table import read_gates
from reference.derivatives.jacobian import linearize_steps
from reference.dynamics import linear_rnn, scan
from support.single import close, single
from support.strategies import seeds, sizes


def draw(T, n, H, diagonal, seed):
    rng = np.random.default_rng(seed)
    A = rng.uniform(-1, 1, (T, n, H) if diagonal else (T, n, H, H)) / (1 if diagonal else H**0.5)
    return A, rng.standard_normal((T, n, H))


def loop(A, b):
    """The recurrence as it is written, in wider precision."""
    A, b = A.astype(np.longdouble), b.astype(np.longdouble)
    h, results = np.zeros_like(b[0]), []
    for A_t, b_t in zip(A, b, strict=True):
        h = (A_t * h if A.ndim == b.ndim else (A_t @ h[..., None])[..., 0]) + b_t
        results.append(h)
    return np.stack(results).astype(np.float64)


@pytest.mark.claim("X5", "D1")
@given(seed=seeds, T=st.integers(1, 70), n=sizes, H=sizes, diagonal=st.booleans())
def test_the_scan_is_the_loop(seed, T, n, H, diagonal):
    A, b = draw(T, n, H, diagonal, seed)
    close(scan.scan(A, b), loop(A, b), tolerance=1e-13)


@pytest.mark.claim("X5", "D1")
@given(seed=seeds, T=st.integers(1, 40), H=sizes)
def test_the_scan_of_a_constant_matrix_is_the_linear_rnn(seed, T, H):
    rng = np.random.default_rng(seed)
    A = linear_rnn.Params(rng.standard_normal((H, H)), rng.standard_normal((H, 3)))
    A = A._replace(A=A.A * 0.95 / np.linalg.norm(A.A, 2))
    x, h_0 = rng.standard_normal((T, 2, 3)), rng.standard_normal((2, H))
    b = x @ A.B.T
    b[0] += h_0 @ A.A.T
    h, _ = linear_rnn.unroll(A, x, h_0)
    close(scan.scan(np.broadcast_to(A.A, (T, 2, H, H)), b), h, tolerance=1e-13)


@pytest.mark.claim("X5")
@given(seed=seeds, T=st.integers(1, 300))
def test_the_number_of_rounds_is_the_logarithm_of_the_length(seed, T):
    rounds = 0
    composed = scan.compose

    def counted(later, earlier):
        nonlocal rounds
        rounds += 1
        return composed(later, earlier)

    A, b = draw(T, 1, 2, True, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "compose", counted)
        scan.scan(A, b)
    assert rounds == ceil(log2(T))


@pytest.mark.claim("X5")
@given(seed=seeds)
def test_composition_is_associative_and_does_not_commute(seed):
    A, b = draw(3, 2, 3, False, seed)
    first, second, third = zip(A, b, strict=True)
    left = scan.compose(scan.compose(third, second), first)
    right = scan.compose(third, scan.compose(second, first))
    for p, q in zip(left, right, strict=True):
        close(p, q)
    swapped = scan.compose(first, second)[1]
    assert np.abs(scan.compose(second, first)[1] - swapped).max() > 1e-3


@pytest.mark.claim("X5")
@given(seed=seeds, T=st.integers(1, 20), diagonal=st.booleans())
def test_the_adjoint_is_torch_s(seed, T, diagonal):
    A, b = draw(T, 2, 3, diagonal, seed)
    leaves = [torch.tensor(A, requires_grad=True), torch.tensor(b, requires_grad=True)]
    h, states = torch.zeros(2, 3, dtype=torch.float64), []
    for A_t, b_t in zip(*leaves, strict=True):
        h = (A_t * h if diagonal else (A_t @ h[..., None])[..., 0]) + b_t
        states.append(h)
    d_h = np.random.default_rng(seed).standard_normal(b.shape)
    expected = torch.autograd.grad(torch.stack(states), leaves, torch.tensor(d_h))
    for actual, g in zip(scan.scan_back(A, scan.scan(A, b), d_h), expected, strict=True):
        close(actual, g)


@pytest.mark.claim("X5")
def test_the_cell_of_an_lstm_is_a_scan_once_its_gates_are_known():
    p = single("LSTM", T=13)
    steps = list(linearize_steps(p.net, p.params, p.x, p.state))
    gate_values = [read_gates(p.net, p.weights, step.x, step.before) for step in steps]
    written = np.array([g.i * g.g for g in gate_values])
    written[0] += gate_values[0].f * p.state[1][0]
    c = scan.scan(np.array([g.f for g in gate_values]), written)
    _, (_, c_n), _ = p.net.forward(p.params, p.x, p.state)
    close(c[-1:], c_n, tolerance=1e-13)
    close(c, [step.after.c for step in steps], tolerance=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble, np.complex128])
def test_the_dtype_is_kept(dtype):
    A, b = draw(7, 2, 3, False, 0)
    h = scan.scan(A.astype(dtype), b.astype(dtype))
    results = [h, *scan.scan_back(A.astype(dtype), h, h)]
    assert {v.dtype for v in results} == {np.dtype(dtype)}


@pytest.mark.claim("X5")
@given(seed=seeds, T=st.integers(1, 20), H=sizes)
def test_the_gradients_of_an_initial_state_that_enters_through_b_are_torch_s(seed, T, H):
    A, b = draw(T, 2, H, False, seed)
    rng = np.random.default_rng(seed + 1)
    h_0, d_h = rng.standard_normal((2, H)), rng.standard_normal(b.shape)
    folded = b.copy()
    folded[0] += scan.apply(A[0], h_0)
    d_A, d_b = scan.scan_back(A, scan.scan(A, folded), d_h)
    d_A[0] += d_b[0][..., :, None] * h_0[..., None, :]
    d_h_0 = scan.apply(A[0].swapaxes(-1, -2), d_b[0])
    leaves = [torch.tensor(v, requires_grad=True) for v in (A, b, h_0)]
    h, states = leaves[2], []
    for A_t, b_t in zip(*leaves[:2], strict=True):
        h = (A_t @ h[..., None])[..., 0] + b_t
        states.append(h)
    expected = torch.autograd.grad(torch.stack(states), leaves, torch.tensor(d_h))
    for actual, g in zip((d_A, d_b, d_h_0), expected, strict=True):
        close(actual, g)


@pytest.mark.parametrize("T", [1, 2, 5])
def test_an_a_of_another_shape_is_rejected_at_every_length_by_the_shapes_passed(T):
    A, b = draw(T, 2, 3, False, 0)
    for wrong_A in (A[..., :2], A[:, 0], A[..., None]):
        with pytest.raises(ValueError) as caught:
            scan.scan(wrong_A, b)
        assert f"A has shape {wrong_A.shape}, which with b of shape {b.shape}" in str(caught.value)


@pytest.mark.parametrize("T", [1, 2])
def test_the_states_do_not_share_memory_with_b(T):
    A, b = draw(T, 2, 3, False, 0)
    assert not np.shares_memory(scan.scan(A, b), b)


def test_a_constant_matrix_that_is_not_repeated_is_rejected():
    with pytest.raises(ValueError, match="A has shape"):
        scan.scan(np.ones((3, 3)), np.ones((5, 2, 3)))
