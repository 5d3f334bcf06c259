"""The linear recurrence: loop, closed form and scan agree; its spectrum is the rate."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.linalg import LinAlgError

from reference.dynamics import linear_rnn
from support.calculus import rejects
from support.single import close
from support.strategies import seeds, sizes
from torch_impl.dynamics import linear_rnn as torch_linear_rnn


def draw(T=6, n=2, inputs=3, H=4, seed=0, radius=None):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((H, H))
    if radius is not None:
        A *= radius / linear_rnn.spectral_radius(A)
    params = linear_rnn.Params(A, rng.standard_normal((H, inputs)))
    return params, rng.standard_normal((T, n, inputs)), rng.standard_normal((n, H))


@pytest.mark.claim("D1")
@given(seed=seeds, T=st.integers(1, 12), H=sizes)
def test_the_loop_is_the_closed_form(seed, T, H):
    params, x, h_0 = draw(T=T, H=H, seed=seed, radius=0.9)
    h, _ = linear_rnn.unroll(params, x, h_0)
    for t in range(T):
        close(linear_rnn.closed_form(params, x, h_0, t + 1), h[t])
    close(linear_rnn.closed_form(params, x, h_0, 0), h_0)


@pytest.mark.claim("D1")
def test_two_steps_written_out():
    (A, B), x, h_0 = draw(T=2)
    h, _ = linear_rnn.unroll(linear_rnn.Params(A, B), x, h_0)
    close(h[1], h_0 @ A.T @ A.T + x[0] @ B.T @ A.T + x[1] @ B.T)


def test_the_states_cannot_be_written_where_the_adjoint_reads():
    h, _ = linear_rnn.unroll(*draw())
    with pytest.raises(ValueError, match="read-only"):
        h[...] = 0


@pytest.mark.claim("D1")
@given(seed=seeds)
def test_the_adjoint_identity_holds(seed):
    params, x, h_0 = draw(seed=seed)
    rng = np.random.default_rng(seed + 1)
    u = [rng.standard_normal(v.shape) for v in (*params, x, h_0)]
    A, B, x_, h_ = [v + 1e-30j * d for v, d in zip((*params, x, h_0), u, strict=True)]
    pushed = linear_rnn.unroll(linear_rnn.Params(A, B), x_, h_)[0].imag / 1e-30
    h, tape = linear_rnn.unroll(params, x, h_0)
    d_h = rng.standard_normal(h.shape)
    d_x, d_h_0, d_params = linear_rnn.unroll_back(tape, d_h)
    left = d_h * pushed
    right = [g * d for g, d in zip((*d_params, d_x, d_h_0), u, strict=True)]
    total = np.abs(left).sum() + sum(np.abs(r).sum() for r in right)
    assert abs(left.sum() - sum(r.sum() for r in right)) <= 1e-13 * total


@pytest.mark.claim("D1")
@given(seed=seeds, T=sizes)
def test_values_and_gradients_are_torch_s(seed, T):
    params, x, h_0 = draw(T=T, seed=seed)
    leaves = [torch.tensor(v, requires_grad=True) for v in (*params, x, h_0)]
    expected = torch_linear_rnn.unroll(*leaves)
    h, tape = linear_rnn.unroll(params, x, h_0)
    close(h, expected.detach())
    d_h = np.random.default_rng(seed).standard_normal(h.shape)
    d_x, d_h_0, d_params = linear_rnn.unroll_back(tape, d_h)
    grads = torch.autograd.grad(expected, leaves, torch.tensor(d_h))
    for actual, g in zip((*d_params, d_x, d_h_0), grads, strict=True):
        close(actual, g)


@pytest.mark.claim("D1")
@given(seed=seeds, k=st.integers(0, 12))
def test_a_power_through_the_eigenvectors_is_the_repeated_product(seed, k):
    (A, _), _, _ = draw(seed=seed, radius=1.1)
    kappa = np.linalg.cond(np.linalg.eig(A).eigenvectors)
    close(linear_rnn.power(A, k), np.linalg.matrix_power(A, k), tolerance=1e-13 * kappa**2)


@pytest.mark.claim("D2")
@given(seed=seeds, radius=st.sampled_from([0.5, 0.9, 1.0, 1.2]), H=sizes)
def test_growth_lies_between_the_radius_and_kappa_times_the_radius(seed, radius, H):
    (A, _), _, _ = draw(H=H, seed=seed, radius=radius)
    growth = linear_rnn.growth(A, 30)
    assert np.all(growth >= radius ** np.arange(31) * (1 - 1e-12))
    assert np.all(growth <= linear_rnn.growth_bound(A, 30) * (1 + 1e-12))


@pytest.mark.claim("D2")
@given(seed=seeds, radius=st.sampled_from([0.8, 1.25]), H=sizes)
def test_the_influence_of_the_start_changes_at_the_rate_of_the_radius(seed, radius, H):
    (A, _), _, _ = draw(H=H, seed=seed, radius=radius)
    growth = linear_rnn.growth(A, 400)
    assert abs((growth[400] / growth[200]) ** (1 / 200) - radius) < 0.05 * radius


@pytest.mark.claim("D2")
@given(seed=seeds, H=sizes)
def test_an_eigenvector_is_scaled_by_its_eigenvalue(seed, H):
    (A, _), _, _ = draw(H=H, seed=seed, radius=1.3)
    eigenvalues, Q = np.linalg.eig(A)
    for value, v in zip(eigenvalues, Q.T, strict=True):
        error = np.abs(np.linalg.matrix_power(A, 5) @ v - value**5 * v).max()
        assert error <= 1e-12 * np.linalg.norm(A, 2) ** 5


@pytest.mark.claim("D2")
@given(seed=seeds, H=sizes)
def test_in_its_own_norm_a_matrix_never_stretches_beyond_its_radius(seed, H):
    (A, _), _, h = draw(H=H, seed=seed, radius=0.7)
    before, after = linear_rnn.adapted_norm(A, h), linear_rnn.adapted_norm(A, h @ A.T)
    kappa = np.linalg.cond(np.linalg.eig(A).eigenvectors)
    assert np.all(after <= 0.7 * before * (1 + 1e-14 * kappa**2))


@pytest.mark.claim("D2")
@given(seed=seeds, H=sizes)
def test_a_normal_matrix_has_no_transient(seed, H):
    Q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((H, H)))
    A = Q * np.linspace(0.3, 0.9, H) @ Q.T
    close(linear_rnn.growth(A, 10), linear_rnn.spectral_radius(A) ** np.arange(11))


@pytest.mark.claim("D2")
@given(coupling=st.integers(2, 1000))
@example(coupling=8)
def test_a_stable_but_not_normal_recurrence_grows_before_it_decays(coupling):
    A = np.array([[0.5, coupling], [0, 0.5 - 2**-10]])
    growth = linear_rnn.growth(A, 200)
    assert linear_rnn.spectral_radius(A) == 0.5
    assert growth[1] > coupling > 1, "ρ(A) < 1 does not bound the first steps in this norm"
    assert growth[200] < 1e-40, "and yet it decays"


@pytest.mark.claim("D1")
def test_a_defective_matrix_has_no_basis_of_eigenvectors_and_no_finite_bound():
    A = np.array([[0.5, 1.0], [0.0, 0.5]])
    assert linear_rnn.growth_bound(A, 3)[0] > 1e15
    for k in (1, 8):
        rejects(LinAlgError, "basis of eigenvectors", linear_rnn.power, A, k)
    exact = [[0.5**k, k * 0.5 ** (k - 1)] for k in range(1, 9)]
    close(np.array([np.linalg.matrix_power(A, k)[0] for k in range(1, 9)]), exact)


@pytest.mark.claim("D2")
@given(seed=seeds)
def test_a_normal_matrix_has_kappa_one_where_its_eigenvalues_differ(seed):
    U, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((4, 4)))
    close(linear_rnn.growth_bound(U * [0.3, 0.5, 0.7, 0.9] @ U.T, 0), [1])
    assert linear_rnn.growth_bound(U * [0.5, 0.5, 0.5, 0.9] @ U.T, 0) >= 1 - 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_a_power_is_as_wide_as_its_matrix_and_radius_and_growth_are_real(dtype):
    (A, _), _, _ = draw()
    real = np.finfo(dtype).dtype
    assert linear_rnn.power(np.diag(A.diagonal()).astype(dtype), 3).dtype == dtype
    turn = np.array([[0, -1], [1, 0]], dtype)
    assert linear_rnn.power(turn, 3).dtype == np.result_type(dtype, np.complex64)
    assert linear_rnn.spectral_radius(turn).dtype == linear_rnn.growth(turn, 3).dtype == real
    assert linear_rnn.growth_bound(turn, 3).dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble, np.complex128])
def test_the_dtype_is_kept(dtype):
    params, x, h_0 = draw()
    params = linear_rnn.Params(*[p.astype(dtype) for p in params])
    h, tape = linear_rnn.unroll(params, x.astype(dtype), h_0.astype(dtype))
    grads = linear_rnn.unroll_back(tape, h)
    results = [h, grads.x, grads.h_0, *grads.params]
    results.append(linear_rnn.closed_form(params, x.astype(dtype), h_0.astype(dtype), 4))
    assert {v.dtype for v in results} == {np.dtype(dtype)}


@pytest.mark.parametrize(("T", "n"), [(6, 0), (0, 2), (0, 0)])
def test_no_rows_or_no_steps_have_gradients_of_zeros(T, n):
    params, x, h_0 = draw(T=T, n=n)
    h, tape = linear_rnn.unroll(params, x, h_0)
    grads = linear_rnn.unroll_back(tape, h)
    assert (grads.x.shape, grads.h_0.shape) == (x.shape, h_0.shape)
    assert [d.shape for d in grads.params] == [p.shape for p in params]
    assert not any(d.any() for d in (*grads.params, grads.h_0))


@pytest.mark.parametrize("beyond", [-1, 1])
def test_the_closed_form_rejects_a_step_outside_its_input(beyond):
    params, x, h_0 = draw()
    t = beyond if beyond < 0 else len(x) + beyond
    with pytest.raises(ValueError, match=f"T = {len(x)}, got k=0 and t={t}"):
        linear_rnn.closed_form(params, x, h_0, t)
